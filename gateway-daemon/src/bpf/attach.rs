//! Loaded to attached: programs onto interfaces, and onto those that are removed and made again.

use std::fs;
use std::path::Path;

use aya::programs::links::{FdLink, LinkError};
use aya::programs::tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::xdp::{self, XdpLink};
use aya::programs::{LinkOrder, ProgramError, TcAttachType};
use gateway_common::abi::program;
use gateway_common::hook::Hook;

use super::error::errno;
use super::links::{self, Held};
use super::load::{self, Loaded};
use super::maps::Maps;
use super::{BpfError, Privileged};
use crate::sys::caps::Capability;
use crate::sys::link;

/// How XDP runs on an interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum XdpMode {
    /// In the driver, before a socket buffer exists.
    Native,
    /// After the kernel made a socket buffer: `lo`, virtual interfaces, drivers without XDP.
    Generic,
    /// Not at all: as `--xdp` asks.
    Absent,
}

/// Whether XDP has to run (`--xdp`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum XdpWish {
    /// On every interface, or nothing starts.
    #[default]
    Require,
    /// Where nobody else's program is attached; elsewhere no source is dropped.
    Auto,
    /// Nowhere.
    Off,
}

/// How TC programs are attached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TcMode {
    /// TCX links, from Linux 6.6.
    Tcx,
    /// Filters of a clsact queueing discipline: removed by a netlink request.
    Clsact,
}

/// What was attached to an interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attachment {
    /// The interface.
    pub interface: String,
    /// Its number.
    pub index: u32,
    /// How XDP runs there.
    pub xdp: XdpMode,
    /// How TC is attached.
    pub tc: TcMode,
}

/// How to attach.
#[derive(Clone, Copy, Debug)]
pub struct AttachOptions {
    /// XDP.
    pub xdp: XdpWish,
    /// TC; [`TcMode::Clsact`] asks for filters also on kernels that have TCX.
    pub tc: TcMode,
}

impl Default for AttachOptions {
    fn default() -> Self {
        Self { xdp: XdpWish::Require, tc: TcMode::Tcx }
    }
}

/// Where our filters stand among those of others, so that a successor finds them.
const FILTER_PRIORITY: u16 = 50_000;
const FILTER_HANDLE: TcHandle = TcHandle::new(0, 1);

/// Maps and programs are in the kernel, and packets run through them. Dropping it detaches, unless
/// it was left to a successor.
pub struct Attached {
    loaded: Loaded,
    options: AttachOptions,
    attachments: Vec<Attachment>,
    links: Links,
    left: bool,
}

/// What keeps programs attached.
#[derive(Default)]
struct Links {
    held: Vec<Held>,
    /// Filters are not pinned; dropped, they are detached.
    filters: Vec<SchedClassifierLink>,
}

impl Links {
    fn extend(&mut self, mut more: Self) {
        self.held.append(&mut more.held);
        self.filters.append(&mut more.filters);
    }

    fn set_detach(&mut self) {
        self.held.iter_mut().for_each(|held| held.set_detach(true));
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
        let mut links = Links::default();
        for interface in interfaces {
            if attachments.iter().any(|attachment| attachment.interface == *interface) {
                continue;
            }
            let (attachment, more) = self.attach_interface(interface, options)?;
            attachments.push(attachment);
            links.extend(more);
        }
        links.set_detach();
        self.detach_others(&links.held)?;
        Ok(Attached { loaded: self, options, attachments, links, left: false })
    }

    fn attach_interface(
        &mut self,
        interface: &str,
        options: AttachOptions,
    ) -> Result<(Attachment, Links), BpfError> {
        let index = link::index(interface)
            .map_err(|_| BpfError::NoInterface { interface: interface.to_owned() })?;
        check_interface(interface)?;
        let mut links = Links::default();
        let tc = self.attach_tc(interface, index, options.tc, &mut links)?;
        let xdp = match self.attach_xdp(interface, index, options.xdp, &mut links.held) {
            Err(error @ BpfError::XdpBusy { .. }) if options.xdp == XdpWish::Auto => {
                tracing::warn!("{error}; no source is dropped on {interface}");
                XdpMode::Absent
            }
            result => result?,
        };
        Ok((Attachment { interface: interface.to_owned(), index, xdp, tc }, links))
    }

    fn attach_xdp(
        &mut self,
        interface: &str,
        index: u32,
        wish: XdpWish,
        held: &mut Vec<Held>,
    ) -> Result<XdpMode, BpfError> {
        if wish == XdpWish::Off {
            return Ok(XdpMode::Absent);
        }
        let failed = |error| failed(program::XDP, interface, error);
        let pin = links::pin(self.pins.path(), Hook::Xdp, index);
        let program = load::xdp(&mut self.ebpf).map_err(failed)?;
        if let Some(link) = links::pinned(&pin)? {
            let replaced = XdpLink::try_from(link)
                .map_err(not_a_link)
                .and_then(|link| program.attach_to_link(link));
            match replaced {
                Ok(id) => {
                    held.push(Held::adopted(pin, fd(program.take_link(id)).map_err(failed)?));
                    return Ok(mode(index));
                }
                Err(error) if links::is_dead(&error) => remove(&pin)?,
                Err(error) => return Err(failed(error)),
            }
        }
        let mut attach = |mode| {
            let id = program.attach(interface, mode)?;
            fd(program.take_link(id))
        };
        // Native XDP on veth costs more than half of bulk throughput, and lo has none: only where
        // there is a device behind the interface.
        let device = Path::new("/sys/class/net").join(interface).join("device");
        let native =
            if device.exists() { attach(xdp::XdpMode::Driver).map(Some) } else { Ok(None) };
        let attached = match native {
            Ok(Some(link)) => Ok((XdpMode::Native, link)),
            Err(error) if busy(&error) => Err(error),
            // The driver has no XDP, or not with this MTU or these offloads: generic serves.
            Ok(None) | Err(_) => attach(xdp::XdpMode::Skb).map(|link| (XdpMode::Generic, link)),
        };
        match attached {
            Ok((mode, link)) => {
                held.push(Held::fresh(pin, link)?);
                Ok(mode)
            }
            Err(error) if busy(&error) => {
                Err(BpfError::XdpBusy { interface: interface.to_owned() })
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn attach_tc(
        &mut self,
        interface: &str,
        index: u32,
        mut mode: TcMode,
        links: &mut Links,
    ) -> Result<TcMode, BpfError> {
        let hooks = [
            (program::TC_INGRESS, Hook::TcIngress, TcAttachType::Ingress),
            (program::TC_EGRESS, Hook::TcEgress, TcAttachType::Egress),
        ];
        for (name, hook, attach) in hooks {
            if mode == TcMode::Tcx {
                let pin = links::pin(self.pins.path(), hook, index);
                match self.attach_tcx(name, interface, attach, &pin)? {
                    Ok(link) => {
                        links.held.push(link);
                        continue;
                    }
                    // Before Linux 6.6 the kernel knows no such link.
                    Err(error) if errno(&error) == Some(libc::EINVAL) => mode = TcMode::Clsact,
                    Err(error) => return Err(failed(name, interface, error)),
                }
            }
            links.filters.push(self.attach_filter(name, interface, attach)?);
        }
        Ok(mode)
    }

    fn attach_tcx(
        &mut self,
        name: &str,
        interface: &str,
        hook: TcAttachType,
        pin: &Path,
    ) -> Result<Result<Held, ProgramError>, BpfError> {
        let classifier = load::classifier(&mut self.ebpf, name)
            .map_err(|error| failed(name, interface, error))?;
        if let Some(link) = links::pinned(pin)? {
            let replaced = SchedClassifierLink::try_from(link)
                .map_err(not_a_link)
                .and_then(|link| classifier.attach_to_link(link))
                .and_then(|id| fd(classifier.take_link(id)));
            match replaced {
                Ok(link) => return Ok(Ok(Held::adopted(pin.to_owned(), link))),
                Err(error) if links::is_dead(&error) => remove(pin)?,
                Err(error) => return Ok(Err(error)),
            }
        }
        let options = TcAttachOptions::TcxOrder(LinkOrder::default());
        let attached = classifier
            .attach_with_options(interface, hook, options)
            .and_then(|id| fd(classifier.take_link(id)));
        match attached {
            Ok(link) => Held::fresh(pin.to_owned(), link).map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }

    /// The way before Linux 6.6. Filters outlive the process; one that an earlier daemon left gets
    /// our program in place of its own.
    fn attach_filter(
        &mut self,
        name: &str,
        interface: &str,
        hook: TcAttachType,
    ) -> Result<SchedClassifierLink, BpfError> {
        let failed = |error| failed(name, interface, error);
        let clsact = tc::qdisc_add_clsact(interface).map_err(ProgramError::from);
        if let Err(error) = clsact
            && errno(&error) != Some(libc::EEXIST)
        {
            return Err(failed(error));
        }
        let classifier = load::classifier(&mut self.ebpf, name).map_err(failed)?;
        let left =
            SchedClassifierLink::attached(interface, hook, FILTER_PRIORITY, FILTER_HANDLE, None)
                .map_err(|error| failed(error.into()))?;
        if let Ok(id) = classifier.attach_to_link(left) {
            return classifier.take_link(id).map_err(failed);
        }
        let options = TcAttachOptions::Netlink(NlOptions {
            priority: FILTER_PRIORITY,
            handle: FILTER_HANDLE,
            ..NlOptions::default()
        });
        classifier
            .attach_with_options(interface, hook, options)
            .and_then(|id| classifier.take_link(id))
            .map_err(failed)
    }

    /// Detaches what an earlier daemon left on interfaces that are not ours.
    fn detach_others(&self, held: &[Held]) -> Result<(), BpfError> {
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

    /// The capabilities that the daemon still needs from now on: socket marks, and detaching where
    /// that is a netlink request.
    pub fn kept_capabilities(&self) -> Vec<Capability> {
        let mut kept = vec![Capability::NetRaw];
        if self.attachments.iter().any(|attachment| attachment.tc == TcMode::Clsact) {
            kept.push(Capability::NetAdmin);
        }
        kept
    }

    /// Looks whether interfaces are gone or were made again, and attaches to the latter. Works
    /// without privilege where TC is attached by TCX links.
    pub fn follow_interfaces(&mut self) -> Vec<InterfaceChange> {
        let mut changes = Vec::new();
        for at in 0..self.attachments.len() {
            let Attachment { interface, index, .. } = self.attachments[at].clone();
            let now = link::index(&interface).unwrap_or(0);
            if now == index {
                continue;
            }
            if index != 0 {
                // The kernel has detached its programs; the pins hold nothing any more.
                self.attachments[at].index = 0;
                let gone = Hook::ALL.map(|hook| links::pin(self.loaded.pins.path(), hook, index));
                self.links.held.retain(|held| !gone.iter().any(|pin| pin == held.path()));
                changes.push(InterfaceChange::Lost(interface.clone()));
            }
            if now == 0 {
                continue;
            }
            changes.push(match self.loaded.attach_interface(&interface, self.options) {
                Ok((attachment, mut links)) => {
                    links.set_detach();
                    self.links.extend(links);
                    self.attachments[at] = attachment.clone();
                    InterfaceChange::Attached(attachment)
                }
                Err(error) => {
                    // Not tried again until it changes once more.
                    self.attachments[at].index = now;
                    InterfaceChange::Failed(error)
                }
            });
        }
        changes
    }

    /// Leaves everything in the kernel as it is, to a successor that has taken it over.
    pub fn leave(&mut self) {
        self.left = true;
        self.links.held.iter_mut().for_each(|held| held.set_detach(false));
        self.links.filters.drain(..).for_each(std::mem::forget);
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

fn not_a_link(error: LinkError) -> ProgramError {
    match error {
        LinkError::SyscallError(error) => error.into(),
        other => ProgramError::IOError(std::io::Error::other(other)),
    }
}

/// A link by its file descriptor, which is what can be pinned.
fn fd<L>(link: Result<L, ProgramError>) -> Result<FdLink, ProgramError>
where
    FdLink: TryFrom<L, Error = LinkError>,
{
    FdLink::try_from(link?).map_err(not_a_link)
}

fn remove(pin: &Path) -> Result<(), BpfError> {
    fs::remove_file(pin).map_err(|source| BpfError::PinDirectory {
        action: "remove",
        path: pin.to_owned(),
        source,
    })
}

/// How the XDP program of an interface runs that was attached before.
fn mode(index: u32) -> XdpMode {
    let links = link::links().unwrap_or_default();
    let found = links.iter().find(|link| link.index == index).and_then(|link| link.xdp);
    if found.is_some_and(|xdp| xdp.native) { XdpMode::Native } else { XdpMode::Generic }
}

/// Whether the interface exists and carries Ethernet frames. `/sys` shows another network
/// namespace's interfaces where only the network namespace was entered; then the kernel decides.
fn check_interface(interface: &str) -> Result<(), BpfError> {
    /// `ARPHRD_ETHER` and `ARPHRD_LOOPBACK`.
    const ETHERNET: [&str; 2] = ["1", "772"];
    let Ok(kind) = fs::read_to_string(Path::new("/sys/class/net").join(interface).join("type"))
    else {
        return Ok(());
    };
    let kind = kind.trim();
    if ETHERNET.contains(&kind) {
        return Ok(());
    }
    Err(BpfError::NotEthernet { interface: interface.to_owned(), kind: kind.to_owned() })
}

fn busy(error: &ProgramError) -> bool {
    matches!(errno(error), Some(libc::EBUSY | libc::EEXIST))
}

fn failed(name: &str, interface: &str, error: ProgramError) -> BpfError {
    let missing = matches!(error, ProgramError::UnknownInterface { .. })
        || errno(&error) == Some(libc::ENODEV);
    if missing {
        return BpfError::NoInterface { interface: interface.to_owned() };
    }
    BpfError::from_program(format!("attach the program {name} to {interface}"), error)
}
