//! Capabilities of this process. The `caps` crate has the unsafe code, but for one prctl(2).

use std::fmt;
use std::fs;
use std::io;

use caps::{CapSet, CapsHashSet};

/// A capability that some part of the daemon may need.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Capability {
    /// Make BPF maps, load BPF programs.
    Bpf,
    /// Attach programs to interfaces.
    NetAdmin,
    /// Pointer arithmetic in BPF programs, which steering needs.
    Perfmon,
    /// Set a socket's mark.
    NetRaw,
    /// Bind ports below 1024.
    NetBindService,
}

impl Capability {
    fn kernel(self) -> caps::Capability {
        match self {
            Self::Bpf => caps::Capability::CAP_BPF,
            Self::NetAdmin => caps::Capability::CAP_NET_ADMIN,
            Self::Perfmon => caps::Capability::CAP_PERFMON,
            Self::NetRaw => caps::Capability::CAP_NET_RAW,
            Self::NetBindService => caps::Capability::CAP_NET_BIND_SERVICE,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kernel())
    }
}

/// Whether the calling thread may use `capability` now.
pub fn effective(capability: Capability) -> io::Result<bool> {
    caps::has_cap(None, CapSet::Effective, capability.kernel()).map_err(io::Error::other)
}

/// Cuts the calling thread down to those of `kept` that it has: effective and permitted alike,
/// ambient and inheritable to nothing, the bounding set too where the thread may. Threads started later
/// inherit it; nothing brings the rest back.
pub fn keep_only(kept: &[Capability]) -> io::Result<()> {
    let permitted = caps::read(None, CapSet::Permitted).map_err(io::Error::other)?;
    let kept: CapsHashSet =
        kept.iter().map(|c| c.kernel()).filter(|c| permitted.contains(c)).collect();
    // While CAP_SETPCAP lasts. Without it, `forbid_new_privileges` alone keeps exec from regaining
    // them.
    if caps::has_cap(None, CapSet::Effective, caps::Capability::CAP_SETPCAP)
        .map_err(io::Error::other)?
    {
        for capability in caps::read(None, CapSet::Bounding).map_err(io::Error::other)? {
            if !kept.contains(&capability) {
                caps::drop(None, CapSet::Bounding, capability).map_err(io::Error::other)?;
            }
        }
    }
    caps::clear(None, CapSet::Ambient).map_err(io::Error::other)?;
    caps::clear(None, CapSet::Inheritable).map_err(io::Error::other)?;
    caps::set(None, CapSet::Effective, &kept).map_err(io::Error::other)?;
    caps::set(None, CapSet::Permitted, &kept).map_err(io::Error::other)
}

/// Makes sure that no exec gains privileges, for the calling thread and those it starts.
#[expect(unsafe_code, reason = "prctl(2)")]
pub fn forbid_new_privileges() -> io::Result<()> {
    let (on, unused): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: this operation takes integers only.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, on, unused, unused, unused) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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

fn permitted_line(status: impl AsRef<std::path::Path>) -> io::Result<String> {
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
            keep_only(&[Capability::NetRaw]).unwrap();
            (held, ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"].map(bits))
        })
        .join()
        .unwrap();
        let net_raw = 1 << caps::Capability::CAP_NET_RAW.index();
        assert_eq!(sets, [held & net_raw, held & net_raw, 0, 0]);
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

    #[test]
    fn names_are_the_kernels() {
        assert_eq!(Capability::NetBindService.to_string(), "CAP_NET_BIND_SERVICE");
    }
}
