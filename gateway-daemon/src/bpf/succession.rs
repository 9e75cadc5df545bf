//! Attached beside another daemon: what changes hands, and how each of the two takes it back.
//!
//! The maps are one and the same for both, so a packet is never without them. A successor attaches
//! with its programs in the pinned links and takes over the rest by [`Attached::commit`]; dropped
//! before, it leaves everything that it found. The predecessor then leaves by [`Attached::leave`];
//! if the successor ends before, [`Attached::restore`] puts everything back.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use super::attach::Links;
use super::{Attached, BpfError};
use crate::counters::ListenerSlot;
use crate::model::port_range::PortRange;

impl Attached {
    /// The lock of the pin directory, for a successor.
    pub fn lock(&self) -> BorrowedFd<'_> {
        self.loaded.pins.lock().as_fd()
    }

    /// The secret of the flow hash.
    pub fn seed(&self) -> u64 {
        self.loaded.maps.seed()
    }

    /// Takes over from the other daemon: steers these ports and no others, and detaches it from
    /// interfaces that are not ours. What is attached is ours from here on.
    pub fn commit(
        &mut self,
        ports: &[(ListenerSlot, Vec<IpAddr>, PortRange)],
    ) -> Result<(), BpfError> {
        self.loaded.maps.steer_all(ports)?;
        self.loaded.maps.steer_only_these()?;
        self.loaded.detach_others(&self.links.held)?;
        self.links.set_detach();
        self.links.shared = false;
        self.left = false;
        self.loaded.beside = false;
        Ok(())
    }

    /// Leaves everything in the kernel as it is, to a successor that has taken it over.
    pub fn leave(&mut self) {
        self.left = true;
        self.links.held.iter_mut().for_each(|held| held.set_detach(false));
        self.links.shared = true;
        // A link is attached as long as somebody has it open, and the successor may not want it.
        self.links = Links::new(true);
    }

    /// Puts back everything that a successor may have changed before it ended: programs, lists and
    /// steering.
    pub fn restore(&mut self) -> Result<(), BpfError> {
        let options = &self.loaded.options;
        self.loaded.maps.set_blocks(&options.deny_sources, &options.trusted_sources)?;
        let mut restored = Links::new(true);
        for at in self.attachments.iter().filter(|at| at.index != 0) {
            let (_, links) = self.loaded.attach_interface(&at.interface, self.options)?;
            restored.extend(links);
        }
        if !self.attachments.is_empty() {
            restored.held.push(self.loaded.attach_lookup()?);
        }
        restored.set_detach();
        restored.shared = false;
        self.loaded.detach_others(&restored.held)?;
        // The links from before are the same ones, and must not take the pins with them.
        self.links.held.iter_mut().for_each(|held| held.set_detach(false));
        self.links.shared = true;
        self.links = restored;
        self.loaded.maps.steer_only_these()
    }
}
