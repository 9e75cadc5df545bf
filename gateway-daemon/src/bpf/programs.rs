//! The programs: one after the other into the kernel on a thread of their own, each given to
//! whoever waits for it.
//!
//! The kernel verifies a program for milliseconds, and an attachment waits as long for all CPUs: so
//! the first program is attached while the next one is verified.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use aya::programs::{ProgramError, SchedClassifier, Xdp};
use aya_obj::programs::XdpAttachType;
use gateway_common::abi::program;

use super::BpfError;
use super::object::Object;
use crate::sys::bpf;

/// The order in which they come: that in which they are attached. The one that is verified fastest
/// goes first, and the one that needs most maps last.
const ORDER: [&str; 4] = [program::TC_EGRESS, program::TC_INGRESS, program::LOOKUP, program::XDP];

/// Where a program is pinned for a moment: aya takes no program that it has not loaded but from a
/// pin.
pub(super) const PASSING: &str = "PROGRAM";

/// The programs, in the kernel or on their way there.
pub(super) struct Programs {
    xdp: Option<Xdp>,
    ingress: Option<SchedClassifier>,
    egress: Option<SchedClassifier>,
    lookup: Option<OwnedFd>,
    directory: PathBuf,
    coming: Option<(Receiver<Loaded>, JoinHandle<()>)>,
}

type Loaded = Result<(&'static str, OwnedFd), BpfError>;

impl Programs {
    /// Begins to take them into the kernel.
    pub(super) fn begin(mut object: Object, directory: &Path) -> io::Result<Self> {
        let (give, take) = sync_channel(ORDER.len());
        let thread = thread::Builder::new().name("programs".to_owned()).spawn(move || {
            for name in ORDER {
                let loaded = object.load(name).map(|program| (name, program));
                let failed = loaded.is_err();
                if give.send(loaded).is_err() || failed {
                    return;
                }
            }
        })?;
        Ok(Self {
            xdp: None,
            ingress: None,
            egress: None,
            lookup: None,
            directory: directory.to_owned(),
            coming: Some((take, thread)),
        })
    }

    /// Waits until all of them are in the kernel.
    pub(super) fn wait(&mut self) -> Result<(), BpfError> {
        while self.coming.is_some() {
            self.next()?;
        }
        Ok(())
    }

    /// The XDP program.
    pub(super) fn xdp(&mut self) -> Result<&mut Xdp, BpfError> {
        while self.xdp.is_none() && self.coming.is_some() {
            self.next()?;
        }
        self.xdp.as_mut().ok_or_else(|| absent(program::XDP))
    }

    /// The program that answers lookups.
    pub(super) fn lookup(&mut self) -> Result<BorrowedFd<'_>, BpfError> {
        while self.lookup.is_none() && self.coming.is_some() {
            self.next()?;
        }
        self.lookup.as_ref().map(AsFd::as_fd).ok_or_else(|| absent(program::LOOKUP))
    }

    /// A TC program.
    pub(super) fn classifier(
        &mut self,
        name: &'static str,
    ) -> Result<&mut SchedClassifier, BpfError> {
        while self.slot(name).is_none() && self.coming.is_some() {
            self.next()?;
        }
        self.slot(name).as_mut().ok_or_else(|| absent(name))
    }

    fn slot(&mut self, name: &str) -> &mut Option<SchedClassifier> {
        if name == program::TC_EGRESS { &mut self.egress } else { &mut self.ingress }
    }

    /// Takes the next one, or ends the thread.
    fn next(&mut self) -> Result<(), BpfError> {
        let Some((coming, _)) = &self.coming else { return Ok(()) };
        let Ok(next) = coming.recv() else {
            self.end();
            return Ok(());
        };
        let (name, loaded) = next?;
        if name == program::LOOKUP {
            self.lookup = Some(loaded);
            return Ok(());
        }
        let failed = |error| BpfError::from_program(format!("pass on the program {name}"), error);
        let path = self.directory.join(PASSING);
        passed(&path, &loaded).map_err(|error| failed(error.into()))?;
        if name == program::XDP {
            self.xdp = Some(Xdp::from_pin(&path, XdpAttachType::Interface).map_err(failed)?);
            // The last one: the thread holds maps and privileges no longer than it has to.
            self.end();
        } else {
            *self.slot(name) = Some(SchedClassifier::from_pin(&path).map_err(failed)?);
        }
        fs::remove_file(&path).map_err(|error| failed(error.into()))
    }

    fn end(&mut self) {
        if let Some((coming, thread)) = self.coming.take() {
            drop(coming);
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        self.end();
    }
}

/// Pins a program in the place of one that a daemon left which was killed meanwhile.
fn passed(path: &Path, program: &OwnedFd) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    bpf::pin(program.as_fd(), path)
}

fn absent(name: &str) -> BpfError {
    BpfError::from_program(format!("find the program {name}"), ProgramError::NotLoaded)
}
