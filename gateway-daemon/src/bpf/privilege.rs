//! Privilege: held while loading and attaching, given up before the network is read.
//!
//! Needed to start: `CAP_BPF` (maps, programs), `CAP_NET_ADMIN` (attach), `CAP_PERFMON` (pointer
//! arithmetic in programs). Kept: none; `CAP_NET_ADMIN` on kernels before 6.6, where detaching is a
//! netlink request. `no_new_privs` is set, so that no later exec gains anything.

use std::io;
use std::thread;
use std::time::Duration;

use crate::sys::caps::{self, Capability};

/// What loading and attaching need.
pub const NEEDED: [Capability; 3] = [Capability::Bpf, Capability::NetAdmin, Capability::Perfmon];

/// How often it is looked whether threads are gone that have ended: whoever joins one may go on a
/// moment before the kernel takes it off the list.
const LOOKS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(2);

/// Why privileges are missing or cannot be given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// Started without what it needs.
    #[error(
        "missing {}: run as root (sudo), give the service these capabilities, or serve without \
         the kernel half: --datapath off",
        list(.0)
    )]
    Missing(Vec<Capability>),
    /// The kernel refused.
    #[error("cannot give up privileges")]
    System(#[from] io::Error),
    /// Threads that run already keep what this one gives up.
    #[error("threads started before privileges were given up still hold them: {}", .0.join(", "))]
    Threads(Vec<String>),
}

/// Proof that the process may load and attach. `app` makes it once, before any thread is started
/// but that which loads, and which ends before attaching does.
#[derive(Debug)]
pub struct Privileged(());

impl Privileged {
    /// Checks that every capability needed is there.
    pub fn acquire() -> Result<Self, PrivilegeError> {
        let mut missing = Vec::new();
        for capability in NEEDED {
            if !caps::effective(capability)? {
                missing.push(capability);
            }
        }
        if missing.is_empty() { Ok(Self(())) } else { Err(PrivilegeError::Missing(missing)) }
    }

    /// Gives up everything but `kept` (see [`super::Attached::kept_capabilities`]), for good.
    pub fn relinquish(self, kept: &[Capability]) -> Result<(), PrivilegeError> {
        keep_only(kept)
    }
}

/// Gives up every capability but `kept`, for good. With `--datapath off` there is no [`Privileged`]
/// to consume: call it directly, with [`Capability::NetBindService`] where a listener may want a
/// port below 1024.
///
/// Capabilities belong to threads: call it before any other thread is started. It fails, and the
/// daemon must not serve, if some thread still holds more.
pub fn keep_only(kept: &[Capability]) -> Result<(), PrivilegeError> {
    caps::forbid_new_privileges()?;
    caps::keep_only(kept)?;
    let mut threads = caps::threads_that_differ()?;
    for _ in 0..LOOKS {
        if threads.is_empty() {
            return Ok(());
        }
        thread::sleep(PAUSE);
        threads = caps::threads_that_differ()?;
    }
    Err(PrivilegeError::Threads(threads))
}

fn list(capabilities: &[Capability]) -> String {
    capabilities.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
