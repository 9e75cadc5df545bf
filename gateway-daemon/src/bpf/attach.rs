//! Loaded to attached: programs onto interfaces.

use std::fs;
use std::path::Path;

use aya::programs::tc::{self, NlOptions, TcAttachOptions};
use aya::programs::{LinkOrder, ProgramError, TcAttachType, xdp};
use gateway_common::abi::program;

use super::error::errno;
use super::load::{self, Loaded};
use super::maps::Maps;
use super::{BpfError, Privileged};
use crate::sys::caps::Capability;

/// How XDP runs on an interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum XdpMode {
    /// In the driver, before a socket buffer exists.
    Native,
    /// After the kernel made a socket buffer: `lo`, virtual interfaces, drivers without XDP.
    Generic,
}

/// How TC programs are attached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TcMode {
    /// TCX links, from Linux 6.6: gone with the process.
    Tcx,
    /// Filters of a clsact queueing discipline: removed by a netlink request.
    Clsact,
}

/// What was attached to an interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attachment {
    /// The interface.
    pub interface: String,
    /// How XDP runs there.
    pub xdp: XdpMode,
    /// How TC is attached.
    pub tc: TcMode,
}

/// Maps and programs are in the kernel, and packets run through them. Dropping it detaches.
pub struct Attached {
    loaded: Loaded,
    attachments: Vec<Attachment>,
}

impl Loaded {
    /// Attaches XDP and TC to every interface, by name. If one fails, those done are undone.
    pub fn attach(
        self,
        privileged: &Privileged,
        interfaces: &[String],
    ) -> Result<Attached, BpfError> {
        self.attach_by(privileged, interfaces, TcMode::Tcx)
    }

    /// Attaches as [`Self::attach`] does, where [`TcMode::Clsact`] asks for filters also on kernels
    /// that have TCX.
    pub fn attach_by(
        mut self,
        _: &Privileged,
        interfaces: &[String],
        tc: TcMode,
    ) -> Result<Attached, BpfError> {
        let mut attachments: Vec<Attachment> = Vec::new();
        for interface in interfaces {
            if attachments.iter().any(|attachment| attachment.interface == *interface) {
                continue;
            }
            check_interface(interface)?;
            let tc = self.attach_tc(interface, tc)?;
            let xdp = self.attach_xdp(interface)?;
            attachments.push(Attachment { interface: interface.clone(), xdp, tc });
        }
        Ok(Attached { loaded: self, attachments })
    }

    fn attach_xdp(&mut self, interface: &str) -> Result<XdpMode, BpfError> {
        let mut attach = |mode| load::xdp(&mut self.ebpf)?.attach(interface, mode).map(drop);
        // Native XDP on veth costs more than half of bulk throughput, and lo has none: only where
        // there is a device behind the interface.
        let device = Path::new("/sys/class/net").join(interface).join("device");
        if device.exists() {
            match attach(xdp::XdpMode::Driver) {
                Ok(()) => return Ok(XdpMode::Native),
                Err(error) if busy(&error) => {
                    return Err(BpfError::XdpBusy { interface: interface.to_owned() });
                }
                // The driver has no XDP, or not with this MTU or these offloads: generic serves.
                Err(_) => {}
            }
        }
        match attach(xdp::XdpMode::Skb) {
            Ok(()) => Ok(XdpMode::Generic),
            Err(error) if busy(&error) => {
                Err(BpfError::XdpBusy { interface: interface.to_owned() })
            }
            Err(error) => Err(failed(program::XDP, interface, error)),
        }
    }

    fn attach_tc(&mut self, interface: &str, mut mode: TcMode) -> Result<TcMode, BpfError> {
        let hooks = [
            (program::TC_INGRESS, TcAttachType::Ingress),
            (program::TC_EGRESS, TcAttachType::Egress),
        ];
        for (name, hook) in hooks {
            if mode == TcMode::Tcx {
                let options = TcAttachOptions::TcxOrder(LinkOrder::default());
                match self.attach_classifier(name, interface, hook, options) {
                    Ok(()) => continue,
                    // Before Linux 6.6 the kernel knows no such link.
                    Err(error) if errno(&error) == Some(libc::EINVAL) => mode = TcMode::Clsact,
                    Err(error) => return Err(failed(name, interface, error)),
                }
            }
            self.attach_filter(name, interface, hook)?;
        }
        Ok(mode)
    }

    /// The way before Linux 6.6. Filters outlive the process, so those of an earlier one that was
    /// killed go first.
    fn attach_filter(
        &mut self,
        name: &str,
        interface: &str,
        hook: TcAttachType,
    ) -> Result<(), BpfError> {
        let clsact = tc::qdisc_add_clsact(interface).map_err(ProgramError::from);
        if let Err(error) = clsact
            && errno(&error) != Some(libc::EEXIST)
        {
            return Err(failed(name, interface, error));
        }
        let _none_left = tc::qdisc_detach_program(interface, hook, name);
        let options = TcAttachOptions::Netlink(NlOptions::default());
        self.attach_classifier(name, interface, hook, options)
            .map_err(|error| failed(name, interface, error))
    }

    fn attach_classifier(
        &mut self,
        name: &str,
        interface: &str,
        hook: TcAttachType,
        options: TcAttachOptions,
    ) -> Result<(), ProgramError> {
        let classifier = load::classifier(&mut self.ebpf, name)?;
        classifier.attach_with_options(interface, hook, options).map(drop)
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
}

impl Drop for Attached {
    fn drop(&mut self) {
        // The programs detach with their links. The pinned map must not say that anything is
        // still steered.
        if let Err(error) = self.loaded.maps.clear_steering() {
            tracing::warn!(%error, "steering entries stay in the pinned map");
        }
    }
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
