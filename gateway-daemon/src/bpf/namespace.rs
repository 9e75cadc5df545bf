//! The program that answers lookups onto this network namespace: a new link, or the place of one that an
//! earlier daemon left.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use super::BpfError;
use super::hooks::remove;
use super::links::{self, Held};
use super::load::Loaded;
use crate::sys::bpf;

/// The network namespace of whoever opens it.
const NAMESPACE: &str = "/proc/thread-self/ns/net";

impl Loaded {
    /// Attaches the program for connections that are reopened. The pin is named after the namespace:
    /// the link of another one is none of ours.
    pub(super) fn attach_lookup(&mut self) -> Result<Held, BpfError> {
        let failed = |error: io::Error| {
            BpfError::from_link("attach a program to the network namespace".to_owned(), error)
        };
        let namespace = File::open(NAMESPACE).map_err(failed)?;
        let number = namespace.metadata().map_err(failed)?.ino();
        let pin = links::namespace_pin(self.pins.path(), number);
        let program = self.programs.lookup()?;
        if let Some(link) = bpf::pinned(&pin).map_err(failed)? {
            match bpf::replace(link.as_fd(), program) {
                Ok(()) => return Ok(Held::adopted(pin, link)),
                Err(error) if links::is_dead(&error) => remove(&pin)?,
                Err(error) => return Err(failed(error)),
            }
        }
        let link = bpf::link_lookup(program, namespace.as_fd()).map_err(failed)?;
        Held::fresh_lookup(pin, link)
    }
}
