//! Links that outlive the process: pinned beside the maps, so that packets are dropped and counted
//! on while no daemon runs, and so that the next daemon puts its programs in their place, without a
//! moment in which none is attached.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, LinkError, PinnedLink};
use gateway_common::hook::Hook;

use super::BpfError;
use super::error::errno;
use crate::sys::bpf;

/// How the names of pinned links begin. The interface's number follows: a name of an interface may
/// hold a dot, which the BPF file system refuses, and one that was removed and made again is
/// another one.
const fn prefix(hook: Hook) -> &'static str {
    match hook {
        Hook::Xdp => "LINK_XDP_",
        Hook::TcIngress => "LINK_INGRESS_",
        Hook::TcEgress => "LINK_EGRESS_",
    }
}

/// The same for the link of a network namespace, whose number (inode) follows.
const NAMESPACE: &str = "LINK_LOOKUP_";

/// Where the link of a hook on an interface is pinned.
pub(super) fn pin(directory: &Path, hook: Hook, interface: u32) -> PathBuf {
    directory.join(format!("{}{interface}", prefix(hook)))
}

/// Where the link of a network namespace is pinned.
pub(super) fn namespace_pin(directory: &Path, namespace: u64) -> PathBuf {
    directory.join(format!("{NAMESPACE}{namespace}"))
}

/// Every pinned link.
pub(super) fn pins(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut pins = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let prefixes = Hook::ALL.map(prefix);
        if prefixes.into_iter().chain([NAMESPACE]).any(|prefix| name.starts_with(prefix)) {
            pins.push(entry.path());
        }
    }
    Ok(pins)
}

/// The link that is pinned here; none if there is none.
pub(super) fn pinned(path: &Path) -> Result<Option<FdLink>, BpfError> {
    match PinnedLink::from_pin(path) {
        Ok(link) => Ok(Some(link.into())),
        Err(LinkError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(BpfError::from_link(format!("open the link {}", path.display()), error)),
    }
}

/// The numbers of the interfaces that links are pinned for, each once, in order.
pub(super) fn interfaces(directory: &Path) -> BTreeSet<u32> {
    let pins = pins(directory).unwrap_or_default();
    let number = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?;
        Hook::ALL.into_iter().find_map(|hook| name.strip_prefix(prefix(hook))?.parse().ok())
    };
    pins.iter().filter_map(number).collect()
}

/// The programs of the links that are pinned here.
pub(super) fn programs(directory: &Path) -> Vec<u32> {
    let pins = pins(directory).unwrap_or_default();
    let links = pins.iter().filter_map(|path| pinned(path).ok()?);
    links.filter_map(|link| Some(link.info().ok()?.program_id())).collect()
}

/// Detaches the link that is pinned here, and removes the pin. A link whose pin is removed only is
/// detached too, but later: when nobody has it open any more, on a thread of the kernel's own.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let detached = match bpf::pinned(path) {
        Ok(Some(link)) => bpf::detach(link.as_fd()),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = detached {
        tracing::debug!(path = %path.display(), %error, "a link detaches with its pin, a moment later");
    }
    fs::remove_file(path)
}

/// Whether a link's interface is gone.
pub(super) fn is_dead(error: &(dyn std::error::Error + 'static)) -> bool {
    errno(error) == Some(libc::ENOLINK)
}

/// A link of ours. Dropped, it is detached, unless it is to be left to a successor.
#[derive(Debug)]
pub(super) struct Held {
    path: PathBuf,
    detach: bool,
    /// Attached as long as this is open or the pin is there.
    _link: Open,
}

/// An open link.
#[derive(Debug)]
#[expect(dead_code, reason = "kept open")]
pub(super) enum Open {
    /// Of an interface.
    Interface(FdLink),
    /// Of a network namespace.
    Namespace(OwnedFd),
}

impl From<FdLink> for Open {
    fn from(link: FdLink) -> Self {
        Self::Interface(link)
    }
}

impl From<OwnedFd> for Open {
    fn from(link: OwnedFd) -> Self {
        Self::Namespace(link)
    }
}

impl Held {
    /// A link that was pinned before.
    pub(super) fn adopted(path: PathBuf, link: impl Into<Open>) -> Self {
        // Until everything is attached, it stays as it was found.
        Self { path, detach: false, _link: link.into() }
    }

    /// A new link, pinned here.
    pub(super) fn fresh(path: PathBuf, link: FdLink) -> Result<Self, BpfError> {
        let pinned = link
            .pin(&path)
            .map_err(|error| BpfError::from_link(format!("pin {}", path.display()), error))?;
        Ok(Self { path, detach: true, _link: Open::Interface(pinned.into()) })
    }

    /// The same, of a network namespace.
    pub(super) fn fresh_lookup(path: PathBuf, link: OwnedFd) -> Result<Self, BpfError> {
        bpf::pin(link.as_fd(), &path)
            .map_err(|error| BpfError::from_link(format!("pin {}", path.display()), error))?;
        Ok(Self { path, detach: true, _link: Open::Namespace(link) })
    }

    /// Whether dropping it detaches.
    pub(super) fn set_detach(&mut self, detach: bool) {
        self.detach = detach;
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.detach
            && let Err(error) = remove(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a pinned link");
        }
    }
}
