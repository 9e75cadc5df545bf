//! How a daemon is taken over by another one that is started beside it: who finds whom, and what
//! the two tell each other. See `docs/operations.md`, Upgrade.
//!
//! ```text
//! successor                                predecessor
//!     │ hello ──────────────────────────────▶ │ checks version and user; reads no configuration
//!     │ ◀───────────────────── offer, files   │   from here on
//!     │ loads, attaches, starts               │ serves
//!     │ ready ──────────────────────────────▶ │
//!     │ ◀──────────────────────── released    │ accepts no more, keeps no bans
//!     │ accepts, steers, keeps bans           │
//!     │ serving ────────────────────────────▶ │ leaves the kernel half, drains, ends
//! ```
//!
//! Until *serving*, the end of the successor makes the predecessor take everything up again; after
//! *offer*, the end of the predecessor lets the successor carry on. The predecessor's end of the
//! channel stays open until it has drained, so that its closing says that it writes no more.
//!
//! Must not know: what the files are for, sockets of clients, BPF, configuration.

mod door;
mod message;
mod predecessor;
#[cfg(test)]
mod tests;

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

pub use door::{Door, Estate, Heir, Visitor};
pub use message::Item;
pub use predecessor::{Elder, Predecessor};

/// How long either side waits for the other's next word.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Version of the messages.
const PROTOCOL: u32 = 1;

/// Why a handover does not come about.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The running daemon does not want to.
    #[error("the running gateway-daemon (process {pid}) is not taken over: {reason}")]
    Refused {
        /// Its process.
        pid: u32,
        /// Why.
        reason: String,
    },
    /// Somebody else's process has the name.
    #[error(
        "process {pid} of user {uid} answers in place of a gateway-daemon: find out what it is and \
         end it"
    )]
    Stranger {
        /// Its process.
        pid: u32,
        /// Its user.
        uid: u32,
    },
    /// Something that is no message of ours.
    #[error(
        "the other gateway-daemon (process {pid}) says {said:?}, which this version does not \
         understand: stop it first"
    )]
    Unknown {
        /// Its process.
        pid: u32,
        /// The beginning of what it says.
        said: String,
    },
    /// It went away in the middle.
    #[error("the other gateway-daemon (process {pid}) ended in the middle of the handover")]
    Gone {
        /// Its process.
        pid: u32,
    },
    /// It does not answer, or the system does not let us talk.
    #[error("cannot talk to the other gateway-daemon (process {pid})")]
    Talk {
        /// Its process.
        pid: u32,
        /// Why.
        source: io::Error,
    },
}

/// What daemons are known by: those of one place take over from each other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place(Vec<u8>);

impl Place {
    /// Daemons with the kernel half: those of one pin directory, by whatever path it is reached.
    pub fn with_pins(directory: &Path) -> io::Result<Self> {
        let found = directory.metadata()?;
        Ok(Self(format!("gateway-daemon ebpf {}:{}", found.dev(), found.ino()).into_bytes()))
    }

    /// Daemons without it: those of one user with the same words for the pin directory.
    pub fn without_pins(directory: &Path) -> Self {
        /// An abstract name has 107 bytes.
        const ROOM: usize = 60;
        let path = directory.as_os_str().as_bytes();
        let user = rustix::process::geteuid().as_raw();
        let mut name = format!("gateway-daemon off {user} ").into_bytes();
        if path.len() <= ROOM {
            name.extend(path);
        } else {
            // FNV-1a: the same in every version.
            let hash = path.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
            name.extend(format!("#{hash:016x}").bytes());
        }
        Self(name)
    }
}

/// Whether we talk to this user at all: ourselves, or root.
fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}
