//! Links that outlive the process: pinned beside the maps, so that packets are dropped and counted
//! on while no daemon runs, and so that the next daemon puts its programs in their place, without a
//! moment in which none is attached.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, LinkError, PinnedLink};
use gateway_common::hook::Hook;

use super::BpfError;
use super::error::errno;

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

/// Where the link of a hook on an interface is pinned.
pub(super) fn pin(directory: &Path, hook: Hook, interface: u32) -> PathBuf {
    directory.join(format!("{}{interface}", prefix(hook)))
}

/// Every pinned link.
pub(super) fn pins(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut pins = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if Hook::ALL.into_iter().any(|hook| name.starts_with(prefix(hook))) {
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
    _link: FdLink,
}

impl Held {
    /// A link that was pinned before.
    pub(super) fn adopted(path: PathBuf, link: FdLink) -> Self {
        // Until everything is attached, it stays as it was found.
        Self { path, detach: false, _link: link }
    }

    /// A new link, pinned here.
    pub(super) fn fresh(path: PathBuf, link: FdLink) -> Result<Self, BpfError> {
        let pinned = link
            .pin(&path)
            .map_err(|error| BpfError::from_link(format!("pin {}", path.display()), error))?;
        Ok(Self { path, detach: true, _link: pinned.into() })
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
            && let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a pinned link");
        }
    }
}
