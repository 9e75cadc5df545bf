//! One program onto one hook of one interface: a new link, or the place of one that an earlier
//! daemon left.

use std::path::Path;

use aya::programs::links::{FdLink, LinkError};
use aya::programs::tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::xdp::{self, XdpLink};
use aya::programs::{LinkOrder, ProgramError, TcAttachType};
use gateway_common::abi::program;
use gateway_common::hook::Hook;

use super::attach::AttachOptions;
use super::error::errno;
use super::links::{self, Held};
use super::load::Loaded;
use super::{BpfError, inspect};
use crate::model::attachment::{TcMode, TcOrder, XdpMode, XdpPlace};
use crate::sys::link::{self, Link};

/// Where our filters stand among those of others, so that a successor finds them. The kernel runs
/// lower numbers first, and gives others' filters numbers from 49,152 downwards.
const fn priority(order: TcOrder) -> u16 {
    match order {
        TcOrder::First => 1,
        TcOrder::Last => 50_000,
    }
}

const FILTER_HANDLE: TcHandle = TcHandle::new(0, 1);

impl Loaded {
    pub(super) fn attach_xdp(
        &mut self,
        link: &Link,
        place: XdpPlace,
        held: &mut Vec<Held>,
    ) -> Result<XdpMode, BpfError> {
        let (interface, index) = (link.name.as_str(), link.index);
        let failed = |error| failed(program::XDP, interface, error);
        let pin = links::pin(self.pins.path(), Hook::Xdp, index);
        if let Some(mode) = self.adopt_xdp(index, place, &pin, held).map_err(failed)?? {
            return Ok(mode);
        }
        let program = self.programs.xdp()?;
        let mut attach = |mode| {
            let id = program.attach(interface, mode)?;
            fd(program.take_link(id))
        };
        let native = match place {
            XdpPlace::Generic => None,
            XdpPlace::Native => Some(attach(xdp::XdpMode::Driver)),
            // Native XDP on veth costs more than half of bulk throughput, and lo has none: only
            // where there is a device behind the interface.
            XdpPlace::Best => link.device.is_some().then(|| attach(xdp::XdpMode::Driver)),
        };
        let attached = match native {
            Some(Ok(link)) => Ok((XdpMode::Native, link)),
            Some(Err(error)) if busy(&error) || place == XdpPlace::Native => Err(error),
            // The driver has no XDP, or not with this MTU or these offloads: generic serves.
            Some(Err(_)) | None => attach(xdp::XdpMode::Skb).map(|link| (XdpMode::Generic, link)),
        };
        match attached {
            Ok((mode, link)) => {
                held.push(Held::fresh(pin, link)?);
                Ok(mode)
            }
            Err(error) if busy(&error) => Err(taken(interface)),
            Err(error) if place == XdpPlace::Native && !is_refusal(&error) => {
                let source = Box::new(error);
                Err(BpfError::NoNativeXdp { interface: interface.to_owned(), source })
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Puts our program in the place of one that an earlier daemon left, unless that runs where it
    /// should not.
    fn adopt_xdp(
        &mut self,
        index: u32,
        place: XdpPlace,
        pin: &Path,
        held: &mut Vec<Held>,
    ) -> Result<Result<Option<XdpMode>, BpfError>, ProgramError> {
        let link = match links::pinned(pin) {
            Ok(Some(link)) => link,
            Ok(None) => return Ok(Ok(None)),
            Err(error) => return Ok(Err(error)),
        };
        let mode = mode(index);
        let wanted = match place {
            XdpPlace::Best => true,
            XdpPlace::Native => mode == XdpMode::Native,
            XdpPlace::Generic => mode == XdpMode::Generic,
        };
        if !wanted {
            return Ok(remove(pin).map(|()| None));
        }
        let program = match self.programs.xdp() {
            Ok(program) => program,
            Err(error) => return Ok(Err(error)),
        };
        let replaced = XdpLink::try_from(link)
            .map_err(not_a_link)
            .and_then(|link| program.attach_to_link(link));
        match replaced {
            Ok(id) => {
                held.push(Held::adopted(pin.to_owned(), fd(program.take_link(id))?));
                Ok(Ok(Some(mode)))
            }
            Err(error) if links::is_dead(&error) => Ok(remove(pin).map(|()| None)),
            Err(error) => Err(error),
        }
    }

    pub(super) fn attach_tc(
        &mut self,
        interface: &str,
        index: u32,
        options: AttachOptions,
        links: &mut super::attach::Links,
    ) -> Result<TcMode, BpfError> {
        // In the order in which the programs come.
        let hooks = [
            (program::TC_EGRESS, Hook::TcEgress, TcAttachType::Egress),
            (program::TC_INGRESS, Hook::TcIngress, TcAttachType::Ingress),
        ];
        let mut mode = options.tc;
        for (name, hook, attach) in hooks {
            if mode == TcMode::Tcx {
                let pin = links::pin(self.pins.path(), hook, index);
                match self.attach_tcx(name, interface, attach, options.order, &pin)? {
                    Ok(link) => {
                        links.held.push(link);
                        continue;
                    }
                    // Before Linux 6.6 the kernel knows no such link.
                    Err(error) if errno(&error) == Some(libc::EINVAL) => mode = TcMode::Clsact,
                    Err(error) => return Err(failed(name, interface, error)),
                }
            }
            links.filters.push(self.attach_filter(name, interface, attach, options.order)?);
        }
        Ok(mode)
    }

    fn attach_tcx(
        &mut self,
        name: &'static str,
        interface: &str,
        hook: TcAttachType,
        order: TcOrder,
        pin: &Path,
    ) -> Result<Result<Held, ProgramError>, BpfError> {
        let classifier = self.programs.classifier(name)?;
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
        let order = match order {
            TcOrder::First => LinkOrder::first(),
            TcOrder::Last => LinkOrder::last(),
        };
        let attached = classifier
            .attach_with_options(interface, hook, TcAttachOptions::TcxOrder(order))
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
        name: &'static str,
        interface: &str,
        hook: TcAttachType,
        order: TcOrder,
    ) -> Result<SchedClassifierLink, BpfError> {
        let failed = |error| failed(name, interface, error);
        let clsact = tc::qdisc_add_clsact(interface).map_err(ProgramError::from);
        if let Err(error) = clsact
            && errno(&error) != Some(libc::EEXIST)
        {
            return Err(failed(error));
        }
        let classifier = self.programs.classifier(name)?;
        let priority = priority(order);
        let left = SchedClassifierLink::attached(interface, hook, priority, FILTER_HANDLE, None)
            .map_err(|error| failed(error.into()))?;
        if let Ok(id) = classifier.attach_to_link(left) {
            return classifier.take_link(id).map_err(failed);
        }
        let options = TcAttachOptions::Netlink(NlOptions {
            priority,
            handle: FILTER_HANDLE,
            ..NlOptions::default()
        });
        classifier
            .attach_with_options(interface, hook, options)
            .and_then(|id| classifier.take_link(id))
            .map_err(failed)
    }
}

/// How the XDP program of an interface runs that was attached before.
fn mode(index: u32) -> XdpMode {
    let links = link::links().unwrap_or_default();
    let found = links.iter().find(|link| link.index == index).and_then(|link| link.xdp);
    if found.is_some_and(|xdp| xdp.native) { XdpMode::Native } else { XdpMode::Generic }
}

/// The complaint about somebody else's XDP program, which it names if it can.
fn taken(interface: &str) -> BpfError {
    let links = link::links().unwrap_or_default();
    let found = links.iter().find(|link| link.name == interface).and_then(|link| link.xdp);
    let program = found.map_or_else(String::new, |xdp| {
        let name = inspect::program_name(xdp.program).unwrap_or_else(|| "unnamed".to_owned());
        format!(" ({name}, id {})", xdp.program)
    });
    BpfError::XdpBusy { interface: interface.to_owned(), program }
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

/// Detaches a link and removes its pin.
pub(super) fn remove(pin: &Path) -> Result<(), BpfError> {
    links::remove(pin).map_err(|source| BpfError::PinDirectory {
        action: "remove",
        path: pin.to_owned(),
        source,
    })
}

fn busy(error: &ProgramError) -> bool {
    matches!(errno(error), Some(libc::EBUSY | libc::EEXIST))
}

/// Whether the kernel refused for want of the interface or of privilege, rather than the driver for
/// want of native XDP.
fn is_refusal(error: &ProgramError) -> bool {
    matches!(error, ProgramError::UnknownInterface { .. })
        || matches!(errno(error), Some(libc::ENODEV | libc::EPERM))
}

fn failed(name: &str, interface: &str, error: ProgramError) -> BpfError {
    let missing = matches!(error, ProgramError::UnknownInterface { .. })
        || errno(&error) == Some(libc::ENODEV);
    if missing {
        return BpfError::NoInterface { interface: interface.to_owned() };
    }
    BpfError::from_program(format!("attach the program {name} to {interface}"), error)
}
