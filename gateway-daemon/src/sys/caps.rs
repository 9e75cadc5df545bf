//! Capabilities of this process. No unsafe code here: rustix has it.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use rustix::thread::{self, CapabilitySet, CapabilitySets};

/// A capability that some part of the daemon may need.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Capability {
    /// Make BPF maps, load BPF programs.
    Bpf,
    /// Attach programs to interfaces.
    NetAdmin,
    /// Pointer arithmetic in BPF programs, which steering needs.
    Perfmon,
    /// Bind ports below 1024.
    NetBindService,
    /// Read files of other users.
    DacReadSearch,
}

impl Capability {
    const fn set(self) -> CapabilitySet {
        match self {
            Self::Bpf => CapabilitySet::BPF,
            Self::NetAdmin => CapabilitySet::NET_ADMIN,
            Self::Perfmon => CapabilitySet::PERFMON,
            Self::NetBindService => CapabilitySet::NET_BIND_SERVICE,
            Self::DacReadSearch => CapabilitySet::DAC_READ_SEARCH,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bpf => "CAP_BPF",
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::Perfmon => "CAP_PERFMON",
            Self::NetBindService => "CAP_NET_BIND_SERVICE",
            Self::DacReadSearch => "CAP_DAC_READ_SEARCH",
        })
    }
}

/// Whether the calling thread may use `capability` now.
pub fn effective(capability: Capability) -> io::Result<bool> {
    Ok(thread::capabilities(None)?.effective.contains(capability.set()))
}

/// Cuts the calling thread down to those of `kept` that it has: effective and permitted alike,
/// ambient and inheritable to nothing, the bounding set too where the thread may. Threads started
/// later inherit it; nothing brings the rest back.
pub fn keep_only(kept: &[Capability]) -> io::Result<()> {
    let held = thread::capabilities(None)?;
    let kept = held.permitted
        & kept.iter().fold(CapabilitySet::empty(), |kept, capability| kept | capability.set());
    // While CAP_SETPCAP lasts. Without it, `forbid_new_privileges` alone keeps exec from regaining
    // them.
    if held.effective.contains(CapabilitySet::SETPCAP) {
        let every = (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit));
        // The kernel does not know those beyond its last.
        let known = every.take_while(|&bit| thread::capability_is_in_bounding_set(bit).is_ok());
        for capability in known.filter(|&capability| !kept.contains(capability)) {
            thread::remove_capability_from_bounding_set(capability)?;
        }
    }
    thread::clear_ambient_capability_set()?;
    let inheritable = CapabilitySet::empty();
    thread::set_capabilities(
        None,
        CapabilitySets { effective: kept, permitted: kept, inheritable },
    )?;
    Ok(())
}

/// Makes sure that no exec gains privileges, for the calling thread and those it starts.
pub fn forbid_new_privileges() -> io::Result<()> {
    Ok(thread::set_no_new_privs(true)?)
}

/// Threads of this process whose permitted set differs from the calling thread's: they were
/// started before [`keep_only`] and still hold what it gave up.
pub fn threads_that_differ() -> io::Result<Vec<String>> {
    let own = permitted_line("/proc/thread-self/status")?;
    let mut differing = Vec::new();
    for thread in fs::read_dir("/proc/self/task")? {
        let status = thread?.path().join("status");
        match permitted_line(&status) {
            Ok(line) if line == own => {}
            Ok(_) => differing.push(status.display().to_string()),
            // Ended since the directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(differing)
}

fn permitted_line(status: impl AsRef<Path>) -> io::Result<String> {
    let status = fs::read_to_string(status)?;
    status
        .lines()
        .find(|line| line.starts_with("CapPrm:"))
        .map(str::to_owned)
        .ok_or_else(|| io::Error::other("no CapPrm line in a thread's status"))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// `CAP_NET_BIND_SERVICE`.
    const NET_BIND_SERVICE: u64 = 1 << 10;

    /// The bits of a `Cap...:` line of the calling thread's status.
    fn bits(name: &str) -> u64 {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        u64::from_str_radix(line[name.len()..].trim(), 16).unwrap()
    }

    #[test]
    fn keeping_cuts_every_set_to_what_is_kept_and_held() {
        // A thread of its own: capabilities are a thread's, and the other tests keep theirs.
        let (held, sets) = thread::spawn(|| {
            let held = bits("CapPrm:");
            keep_only(&[Capability::NetBindService]).unwrap();
            (held, ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"].map(bits))
        })
        .join()
        .unwrap();
        assert_eq!(sets, [held & NET_BIND_SERVICE, held & NET_BIND_SERVICE, 0, 0]);
    }

    #[test]
    fn a_thread_that_was_not_cut_is_named() {
        thread::spawn(|| {
            let before = bits("CapPrm:");
            keep_only(&[]).unwrap();
            // The test's main thread still holds what this process was started with.
            assert_eq!(threads_that_differ().unwrap().is_empty(), before == 0);
        })
        .join()
        .unwrap();
    }
}
