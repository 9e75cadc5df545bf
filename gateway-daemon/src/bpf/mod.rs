//! The kernel edge: loads the kernel half, attaches it, and writes its maps. The only namer of aya.
//!
//! The states are types: [`Detached`] becomes [`Loaded`] becomes [`Attached`]. Loading and
//! attaching borrow a [`Privileged`], which `app` makes once and gives up by
//! [`Privileged::relinquish`] before the first byte from the network is read. What remains possible
//! after that goes through handles that are open already: [`Maps`].
//!
//! ```no_run
//! use gateway_daemon::bpf::{BpfError, Detached, LoadOptions, Privileged};
//! use gateway_daemon::counters::{ListenerSlots, PathSlots, Regions};
//! use gateway_daemon::sys::socket::worker_listener;
//! use gateway_common::steering::Family;
//!
//! # fn start() -> Result<(), Box<dyn std::error::Error>> {
//! let workers = 2;
//! let privileged = Privileged::acquire()?;
//! let detached = Detached::prepare(LoadOptions::new(workers))?;
//! let loaded = detached.load(&privileged)?;
//! let mut attached = loaded.attach(&privileged, &["lo".to_owned()])?;
//! for worker in 0..workers {
//!     for family in [Family::V4, Family::V6] {
//!         let listener = worker_listener(family)?;
//!         attached.maps().set_worker_socket(worker, family, &listener)?;
//!         // ... the listener moves to its worker; closing it empties the slot.
//!     }
//! }
//! let regions = Regions::open(|map| attached.maps().region(map))?;
//! privileged.relinquish(&attached.kept_capabilities())?;
//!
//! // Later, and again after every reload, on the control thread:
//! let paths = PathSlots::new(regions.clone()).assign(&["PathPrefix /".to_owned()]);
//! let ports = ListenerSlots::new(regions.clone()).assign(&["default/gateway/http".to_owned()]);
//! attached.maps().steer(ports.slots[0], &[], 8080)?;
//! # Ok(())
//! # }
//! ```
//!
//! Dropping [`Attached`] detaches every program. The maps stay pinned, so that counting continues
//! with the next start and `stats` works in between ([`pinned_region`]); [`unload`] removes them.
//!
//! Must not know: HTTP, requests, policies.

mod attach;
mod bans;
mod deny_filter;
mod error;
mod events;
mod hooks;
mod inspect;
mod links;
mod load;
mod maps;
mod namespace;
mod numbers;
mod object;
mod pins;
mod privilege;
mod probe;
mod programs;
mod succession;

pub use attach::{AttachOptions, Attached, InterfaceChange};
pub use bans::BanMaps;
pub use error::BpfError;
pub use events::Events;
pub use inspect::{
    PinState, is_running, pin_state, pinned_attachments, pinned_programs, program_name,
    tcx_programs,
};
pub use load::{Detached, LoadOptions, Loaded, missing_object};
pub use maps::Maps;
pub use pins::{is_continued, lineage, other_layouts, pinned_region, unload};
pub use privilege::{NEEDED, PrivilegeError, Privileged, keep_only};
pub use probe::{Packet, PacketRun};

pub use crate::sys::caps::Capability;
