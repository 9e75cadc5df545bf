//! Looks at what stands in the kernel, and changes nothing: other people's programs, pins.

use std::fs::{File, TryLockError};
use std::path::Path;

use aya::programs::tc::SchedClassifier;
use aya::programs::{TcAttachType, loaded_programs};
use gateway_common::hook::Hook;

use super::{BpfError, links, pins};
use crate::model::attachment::{Attachment, TcMode, XdpMode};
use crate::sys::link;

/// What stands in a pin directory.
#[derive(Debug)]
pub enum PinState {
    /// Nothing.
    Absent,
    /// Maps of this version's layout.
    Ours {
        /// A daemon uses them.
        running: bool,
    },
    /// Something of another layout, or that cannot be read.
    Other(BpfError),
}

/// Looks at a pin directory.
pub fn pin_state(directory: &Path) -> PinState {
    match pins::check_all(directory) {
        Ok(0) => PinState::Absent,
        Ok(_) => PinState::Ours { running: is_running(directory) },
        Err(error) => PinState::Other(error),
    }
}

/// Whether a daemon uses this pin directory now.
pub fn is_running(directory: &Path) -> bool {
    // A reader's lock: taken for an instant, it keeps no daemon from starting for longer.
    let held = File::open(directory).map(|directory| directory.try_lock_shared());
    matches!(held, Ok(Err(TryLockError::WouldBlock)))
}

/// The numbers of the programs that are attached by links in this pin directory.
pub fn pinned_programs(directory: &Path) -> Vec<u32> {
    links::programs(directory)
}

/// What is attached by links in this pin directory. An interface of another network namespace, which
/// only its number is known of, is shown as `#number`.
pub fn pinned_attachments(directory: &Path) -> Vec<Attachment> {
    let seen = link::links().unwrap_or_default();
    let ours = pinned_programs(directory);
    let attachment = |index: u32| {
        let link = seen.iter().find(|link| link.index == index).filter(|link| {
            let tcx = tcx_programs(&link.name, true).unwrap_or_default();
            tcx.iter().any(|(id, _)| ours.contains(id))
                || link.xdp.is_some_and(|xdp| ours.contains(&xdp.program))
        });
        let pinned = |hook| links::pin(directory, hook, index).exists();
        let xdp = match link.and_then(|link| link.xdp) {
            _ if !pinned(Hook::Xdp) => XdpMode::Absent,
            Some(xdp) if xdp.native => XdpMode::Native,
            _ => XdpMode::Generic,
        };
        let tc = if pinned(Hook::TcIngress) { TcMode::Tcx } else { TcMode::Clsact };
        let interface = link.map_or_else(|| format!("#{index}"), |link| link.name.clone());
        Attachment { interface, index, xdp, tc }
    };
    links::interfaces(directory).into_iter().map(attachment).collect()
}

/// The name of a loaded program, by its number.
pub fn program_name(id: u32) -> Option<String> {
    let mut programs = loaded_programs().filter_map(Result::ok);
    let program = programs.find(|program| program.id() == id)?;
    program.name_as_str().map(str::to_owned)
}

/// Numbers and names of the programs of an interface's TCX hook, in the order in which they run; none where the kernel
/// has no TCX.
pub fn tcx_programs(interface: &str, ingress: bool) -> Option<Vec<(u32, String)>> {
    let hook = if ingress { TcAttachType::Ingress } else { TcAttachType::Egress };
    let (_, programs) = SchedClassifier::query_tcx(interface, hook).ok()?;
    let name = |program: &aya::programs::ProgramInfo| {
        (program.id(), program.name_as_str().unwrap_or("unnamed").to_owned())
    };
    Some(programs.iter().map(name).collect())
}
