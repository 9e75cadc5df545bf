//! Loaded to attached: programs onto interfaces, and onto those that are removed and made again.

use std::path::Path;

use aya::programs::tc::SchedClassifierLink;
use gateway_common::hook::Hook;

use super::hooks::remove;
use super::links::{self, Held};
use super::load::Loaded;
use super::maps::Maps;
use super::{BpfError, Privileged};
use crate::model::attachment::{Attachment, TcMode, TcOrder, XdpMode, XdpPlace, XdpWish};
use crate::sys::caps::Capability;
use crate::sys::link::{self, Link};

/// How to attach.
#[derive(Clone, Copy, Debug, Default)]
pub struct AttachOptions {
    /// Whether XDP has to run.
    pub xdp: XdpWish,
    /// Where it should run.
    pub place: XdpPlace,
    /// TC; [`TcMode::Clsact`] asks for filters also on kernels that have TCX.
    pub tc: TcMode,
    /// Where our TC programs stand among those of others.
    pub order: TcOrder,
}

/// Maps and programs are in the kernel, and packets run through them. Dropping it detaches, unless
/// it was left to a successor.
pub struct Attached {
    pub(super) loaded: Loaded,
    pub(super) options: AttachOptions,
    pub(super) attachments: Vec<Attachment>,
    /// By attachment: the interface's number when nothing could be attached to it last.
    failed: Vec<u32>,
    pub(super) links: Links,
    /// What is in the kernel is another daemon's: one that hands over, or one that took over.
    pub(super) left: bool,
}

/// What keeps programs attached.
pub(super) struct Links {
    pub(super) held: Vec<Held>,
    /// Filters are not pinned; dropped, they are detached.
    pub(super) filters: Vec<SchedClassifierLink>,
    /// Another daemon has them too: dropped, they stay.
    pub(super) shared: bool,
}

impl Links {
    pub(super) fn new(shared: bool) -> Self {
        Self { held: Vec::new(), filters: Vec::new(), shared }
    }

    pub(super) fn extend(&mut self, mut more: Self) {
        self.held.append(&mut more.held);
        self.filters.append(&mut more.filters);
    }

    pub(super) fn set_detach(&mut self) {
        self.held.iter_mut().for_each(|held| held.set_detach(true));
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        if self.shared {
            self.filters.drain(..).for_each(std::mem::forget);
        }
    }
}

/// What became of an interface since it was looked at last.
#[derive(Debug)]
pub enum InterfaceChange {
    /// It is gone, and its programs with it.
    Lost(String),
    /// It was made again, and the programs are attached.
    Attached(Attachment),
    /// It was made again, and the programs cannot be attached.
    Failed(BpfError),
}

impl Loaded {
    /// Attaches XDP and TC to every interface, by name. If one fails, those done are undone.
    ///
    /// Links that an earlier daemon left in the pin directory get our programs in place of its own;
    /// those of other interfaces are detached.
    pub fn attach(
        self,
        privileged: &Privileged,
        interfaces: &[String],
    ) -> Result<Attached, BpfError> {
        self.attach_with(privileged, interfaces, AttachOptions::default())
    }

    /// Attaches as [`Self::attach`] does, but not in the usual way.
    pub fn attach_with(
        mut self,
        _: &Privileged,
        interfaces: &[String],
        options: AttachOptions,
    ) -> Result<Attached, BpfError> {
        let mut attachments: Vec<Attachment> = Vec::new();
        let mut links = Links::new(self.beside);
        if self.beside {
            self.maps.set_blocks(&self.options.deny_sources, &self.options.trusted_sources)?;
        }
        for interface in interfaces {
            if attachments.iter().any(|attachment| attachment.interface == *interface) {
                continue;
            }
            let (attachment, more) = self.attach_interface(interface, options)?;
            attachments.push(attachment);
            links.extend(more);
        }
        if !attachments.is_empty() {
            links.held.push(self.attach_lookup()?);
        }
        // One that is attached nowhere has been verified all the same, and the thread has ended.
        self.programs.wait()?;
        let (failed, left) = (vec![0; attachments.len()], self.beside);
        if !left {
            links.set_detach();
            self.detach_others(&links.held)?;
        }
        Ok(Attached { loaded: self, options, attachments, failed, links, left })
    }

    pub(super) fn attach_interface(
        &mut self,
        interface: &str,
        options: AttachOptions,
    ) -> Result<(Attachment, Links), BpfError> {
        let link = find(interface)?;
        let index = link.index;
        let mut links = Links::new(self.beside);
        let tc = self.attach_tc(interface, index, options, &mut links)?;
        let xdp = match options.xdp {
            XdpWish::Off => Ok(XdpMode::Absent),
            _ => self.attach_xdp(&link, options.place, &mut links.held),
        };
        let xdp = match xdp {
            Err(error) if options.xdp == XdpWish::Auto && !error.is_not_permitted() => {
                tracing::warn!(
                    interface,
                    %error,
                    "carrying on without XDP, as --xdp auto asks: --deny-source, --bans and \
                     --syn-rate drop nothing that arrives there"
                );
                XdpMode::Absent
            }
            result => result?,
        };
        Ok((Attachment { interface: interface.to_owned(), index, xdp, tc }, links))
    }

    /// Detaches what an earlier daemon left on interfaces that are not ours.
    pub(super) fn detach_others(&self, held: &[Held]) -> Result<(), BpfError> {
        let failed = |action, path: &Path, source| BpfError::PinDirectory {
            action,
            path: path.to_owned(),
            source,
        };
        let directory = self.pins.path();
        for pin in links::pins(directory).map_err(|error| failed("read", directory, error))? {
            if held.iter().all(|held| held.path() != pin) {
                remove(&pin)?;
            }
        }
        Ok(())
    }
}

impl Attached {
    /// The open maps.
    pub fn maps(&mut self) -> &mut Maps {
        self.loaded.maps()
    }

    /// What is attached where.
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// The capabilities that the daemon still needs from now on: to detach, where that is a netlink request.
    pub fn kept_capabilities(&self) -> Vec<Capability> {
        let mut kept = Vec::new();
        if self.attachments.iter().any(|attachment| attachment.tc == TcMode::Clsact) {
            kept.push(Capability::NetAdmin);
        }
        kept
    }

    /// Looks whether interfaces are gone or were made again, and attaches to the latter; where that
    /// fails, it is tried again with every look. Works without privilege where TC is attached by
    /// TCX links.
    pub fn follow_interfaces(&mut self) -> Vec<InterfaceChange> {
        let mut changes = Vec::new();
        for at in 0..self.attachments.len() {
            let Attachment { interface, index, .. } = self.attachments[at].clone();
            let now = link::index(&interface).unwrap_or(0);
            if now != index && index != 0 {
                self.lose(at);
                changes.push(InterfaceChange::Lost(interface));
            }
            if now == 0 {
                self.failed[at] = 0;
            } else if now != index {
                changes.extend(self.attach_again(at, now));
            }
        }
        changes
    }

    /// The kernel has detached the programs of an interface that is gone; the pins hold nothing any
    /// more.
    fn lose(&mut self, at: usize) {
        let index = std::mem::take(&mut self.attachments[at].index);
        let gone = Hook::ALL.map(|hook| links::pin(self.loaded.pins.path(), hook, index));
        self.links.held.retain(|held| !gone.iter().any(|pin| pin == held.path()));
    }

    /// Tells of a failure once, however often it is tried.
    fn attach_again(&mut self, at: usize, now: u32) -> Option<InterfaceChange> {
        let interface = self.attachments[at].interface.clone();
        match self.loaded.attach_interface(&interface, self.options) {
            Ok((attachment, mut links)) => {
                links.set_detach();
                self.links.extend(links);
                self.attachments[at] = attachment.clone();
                self.failed[at] = 0;
                Some(InterfaceChange::Attached(attachment))
            }
            Err(error) => {
                let before = std::mem::replace(&mut self.failed[at], now);
                (before != now).then_some(InterfaceChange::Failed(error))
            }
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        // The programs detach with their links. The pinned map must not say that anything is
        // still steered.
        if let Err(error) = self.loaded.maps.clear_steering() {
            tracing::warn!(%error, "steering entries stay in the pinned map");
        }
    }
}

/// An interface that exists and carries Ethernet frames.
fn find(interface: &str) -> Result<Link, BpfError> {
    /// `ARPHRD_ETHER` and `ARPHRD_LOOPBACK`.
    const ETHERNET: [u16; 2] = [1, 772];
    let missing = || BpfError::NoInterface { interface: interface.to_owned() };
    let links = link::links().map_err(|source| BpfError::Interfaces { source })?;
    let link = links.into_iter().find(|link| link.name == interface).ok_or_else(missing)?;
    if ETHERNET.contains(&link.hardware) {
        return Ok(link);
    }
    Err(BpfError::NotEthernet { interface: interface.to_owned(), kind: link.hardware })
}
