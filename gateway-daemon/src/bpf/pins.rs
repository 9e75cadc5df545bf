//! Pins: the maps' names in the BPF file system, and whether what stands there may be used.
//!
//! aya opens a pinned map without looking at it, and a larger value would then be written past the
//! end of ours. So type, sizes and flags are compared first; the layout version is in the path.

use std::fs::{self, DirBuilder, File, Metadata, TryLockError};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

use aya::maps::{MapData, MapError, MapInfo, MapType};
use gateway_common::abi::{self, map};
use gateway_common::bans::{Ban, DenyFilter, GuardSettings, SourceV4, SourceV6};
use gateway_common::budget::{CpuState, Earned, SynBucket};
use gateway_common::counters::{
    PACKET_ROWS_PER_CPU, PacketCounters, RequestCounters, WireCounters,
};
use gateway_common::flow::FlowPath;
use gateway_common::path::PathName;
use gateway_common::reasons::ReasonCounters;
use gateway_common::steering::{
    GatewayPort, GatewayPortEntry, ListenerName, PORTS, PortFilter, PortFirst, WORKER_SOCKETS,
};

use super::error::errno;
use super::maps::Maps;
use super::programs::PASSING;
use super::{BpfError, links};
use crate::sys::mmap::Mapping;
use crate::sys::mount;

/// Where the old request counters stand while their rows move to a larger map.
const MIGRATING: &str = "REQUEST_COUNTERS_OLD";

/// Earlier layouts that are continued, the latest last: all that their maps hold means the same in
/// this one, and what they lack is made anew before a program looks at it. The layout 2 has no
/// `CPU_STATE`, and of some builds no `PORT_ENTRIES` and `DENY_FILTER`.
const CONTINUED: [u32; 1] = [2];

/// Maps that a daemon may lack beside which another one starts: that one makes them, and nothing needs to
/// be in them. Builds before decision 0104 have no `FLOW_PATHS`.
const OPTIONAL: [&str; 1] = [map::FLOW_PATHS];

/// `BPF_F_NO_PREALLOC`.
const NO_PREALLOC: u32 = 1;
/// `BPF_F_MMAPABLE`.
const MMAPABLE: u32 = 1 << 10;

/// What a map of this version looks like.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    kind: MapType,
    key: usize,
    value: usize,
    entries: u32,
    flags: u32,
}

/// Every map, for so many workers and CPUs.
pub(super) fn specs(workers: u32, cpus: u32) -> [Spec; 26] {
    let array = |name, value, entries| Spec {
        name,
        kind: MapType::Array,
        key: 4,
        value,
        entries,
        flags: MMAPABLE,
    };
    let deny = |name, address: usize| Spec {
        name,
        kind: MapType::LpmTrie,
        key: 4 + address,
        value: 4,
        entries: abi::MAX_DENY_SOURCES,
        flags: NO_PREALLOC,
    };
    let by_source = |name, key, value, entries| Spec {
        name,
        kind: MapType::LruHash,
        key,
        value,
        entries,
        flags: 0,
    };
    let buckets = |name, key| by_source(name, key, size_of::<SynBucket>(), abi::MAX_SYN_BUCKETS);
    let earned = |name, key| by_source(name, key, size_of::<Earned>(), abi::MAX_EARNED_SOURCES);
    let trusted = |name, address| Spec { entries: abi::MAX_TRUSTED_SOURCES, ..deny(name, address) };
    let bans = |name, key| Spec {
        name,
        kind: MapType::Hash,
        key,
        value: size_of::<Ban>(),
        entries: abi::MAX_BANNED_SOURCES,
        flags: NO_PREALLOC,
    };
    [
        array(map::REQUEST_COUNTERS, size_of::<RequestCounters>(), workers * abi::MAX_PATHS),
        array(map::PACKET_COUNTERS, size_of::<PacketCounters>(), cpus * PACKET_ROWS_PER_CPU),
        array(map::WIRE_COUNTERS, size_of::<WireCounters>(), cpus * abi::MAX_PATHS),
        array(map::REASON_COUNTERS, size_of::<ReasonCounters>(), abi::MAX_WORKERS),
        array(map::FLOW_PATHS, size_of::<u64>(), FlowPath::ROWS),
        array(map::PATH_NAMES, size_of::<PathName>(), abi::MAX_PATHS),
        array(map::LISTENER_NAMES, size_of::<ListenerName>(), abi::MAX_LISTENERS),
        Spec { flags: 0, ..array(map::PORT_FILTER, size_of::<u64>(), PortFilter::ROWS) },
        array(map::PORT_ENTRIES, size_of::<GatewayPortEntry>(), PORTS),
        array(map::DENY_FILTER, size_of::<u64>(), DenyFilter::ROWS),
        Spec { flags: 0, ..array(map::PORT_FIRST, size_of::<u64>(), PortFirst::ROWS) },
        Spec {
            name: map::GATEWAY_PORTS,
            kind: MapType::Hash,
            key: size_of::<GatewayPort>(),
            value: size_of::<GatewayPortEntry>(),
            entries: abi::MAX_GATEWAY_PORTS,
            flags: 0,
        },
        Spec {
            name: map::WORKER_SOCKETS,
            kind: MapType::SockMap,
            key: 4,
            value: 4,
            entries: WORKER_SOCKETS,
            flags: 0,
        },
        deny(map::DENY_SOURCES_V4, 4),
        deny(map::DENY_SOURCES_V6, 16),
        bans(map::BANNED_SOURCES_V4, size_of::<SourceV4>()),
        bans(map::BANNED_SOURCES_V6, size_of::<SourceV6>()),
        buckets(map::SYN_BUCKETS_V4, size_of::<SourceV4>()),
        buckets(map::SYN_BUCKETS_V6, size_of::<SourceV6>()),
        earned(map::EARNED_SOURCES_V4, size_of::<SourceV4>()),
        earned(map::EARNED_SOURCES_V6, size_of::<SourceV6>()),
        trusted(map::TRUSTED_SOURCES_V4, 4),
        trusted(map::TRUSTED_SOURCES_V6, 16),
        Spec {
            name: map::EVENTS,
            kind: MapType::RingBuf,
            key: 0,
            value: 0,
            entries: abi::EVENT_BYTES,
            flags: 0,
        },
        array(map::CPU_STATE, size_of::<CpuState>(), abi::MAX_CPUS),
        Spec { flags: 0, ..array(map::GUARD_SETTINGS, size_of::<GuardSettings>(), 1) },
    ]
}

impl Spec {
    /// Compares a pinned map with this version's.
    fn check(&self, path: &Path, found: &MapInfo) -> Result<(), BpfError> {
        let kind = found.map_type().map_err(|error| BpfError::map("read", self.name, error))?;
        let differs = |property, found: String, expected: String| {
            if found == expected {
                return Ok(());
            }
            Err(BpfError::Layout { path: path.to_owned(), property, found, expected })
        };
        differs("type", format!("{kind:?}"), format!("{:?}", self.kind))?;
        differs("key size", found.key_size().to_string(), self.key.to_string())?;
        differs("value size", found.value_size().to_string(), self.value.to_string())?;
        differs("flags", found.map_flags().to_string(), self.flags.to_string())?;
        if self.name == map::REQUEST_COUNTERS && found.max_entries().is_multiple_of(abi::MAX_PATHS)
        {
            // Rows of more or fewer workers: see `PinDirectory::check`.
            return Ok(());
        }
        differs("entries", found.max_entries().to_string(), self.entries.to_string())
    }
}

/// The pin directory, held by a lock that the kernel gives back when the process ends.
#[derive(Debug)]
pub(super) struct PinDirectory {
    path: PathBuf,
    /// Open and locked.
    lock: File,
}

impl PinDirectory {
    /// Makes the directory if it is missing and locks it. Pins of an earlier layout are renamed to
    /// it, if they can be continued and nobody uses them.
    pub(super) fn take_or_continue(path: &Path) -> Result<Self, BpfError> {
        let mut moved = None;
        for earlier in continued(path) {
            if moved.is_none() {
                moved = Self::move_here(&earlier, path)?;
            }
        }
        refuse_other_layouts(path)?;
        moved.map_or_else(|| Self::take(path), Ok)
    }

    /// Renames an earlier layout's directory; none if there is none, or if it is in use.
    fn move_here(earlier: &Path, path: &Path) -> Result<Option<Self>, BpfError> {
        if !earlier.exists() || !is_vacant(path) {
            return Ok(None);
        }
        let Self { lock, .. } = match Self::take(earlier) {
            Err(BpfError::Busy { .. }) => return Ok(None),
            taken => taken?,
        };
        if path.exists() {
            // Left by a start that failed. One that is just beginning holds it.
            let _held = Self::take(path)?;
            fs::remove_dir(path).map_err(|source| BpfError::PinDirectory {
                action: "remove the empty",
                path: path.to_owned(),
                source,
            })?;
        }
        // The lock is the directory's, whatever its name.
        fs::rename(earlier, path).map_err(|source| BpfError::PinDirectory {
            action: "rename to this version's",
            path: earlier.to_owned(),
            source,
        })?;
        let pins = Self { path: path.to_owned(), lock };
        pins.remove_unknown()?;
        tracing::info!(
            from = %earlier.display(), to = %path.display(),
            "continuing the counters and bans of an earlier layout"
        );
        Ok(Some(pins))
    }

    /// Removes maps that this layout does not have.
    fn remove_unknown(&self) -> Result<(), BpfError> {
        let failed = |action, path: &Path, source| BpfError::PinDirectory {
            action,
            path: path.to_owned(),
            source,
        };
        let links = links::pins(&self.path).map_err(|error| failed("read", &self.path, error))?;
        let known: Vec<PathBuf> = names()
            .chain([MIGRATING, PASSING])
            .map(|name| self.path.join(name))
            .chain(links)
            .collect();
        let found = fs::read_dir(&self.path).map_err(|error| failed("read", &self.path, error))?;
        for path in found.filter_map(|entry| Some(entry.ok()?.path())) {
            if !known.contains(&path) {
                fs::remove_file(&path).map_err(|error| failed("remove", &path, error))?;
            }
        }
        Ok(())
    }

    /// Makes the directory if it is missing and locks it.
    pub(super) fn take(path: &Path) -> Result<Self, BpfError> {
        let failed =
            |action, source| BpfError::PinDirectory { action, path: path.to_owned(), source };
        let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(path);
        if !mount::is_bpffs(existing).map_err(|source| failed("examine", source))? {
            return Err(BpfError::NoBpffs { path: existing.to_owned() });
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|source| failed("create", source))?;
        let lock = File::open(path).map_err(|source| failed("open", source))?;
        match lock.try_lock() {
            // Renamed or removed since it was opened: somebody else is at it.
            Ok(()) if !is_same(path, &lock).map_err(|source| failed("examine", source))? => {
                Err(BpfError::Busy { directory: path.to_owned() })
            }
            Ok(()) => Ok(Self { path: path.to_owned(), lock }),
            Err(TryLockError::WouldBlock) => Err(BpfError::Busy { directory: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed("lock", source)),
        }
    }

    /// The directory of a daemon that hands over, with its lock: it is given back once both have
    /// ended.
    pub(super) fn share(path: &Path, lock: File) -> Result<Self, BpfError> {
        match is_same(path, &lock) {
            Ok(true) => Ok(Self { path: path.to_owned(), lock }),
            Ok(false) => Err(BpfError::Busy { directory: path.to_owned() }),
            Err(source) => {
                Err(BpfError::PinDirectory { action: "examine", path: path.to_owned(), source })
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn lock(&self) -> &File {
        &self.lock
    }

    /// Compares every pinned map with what a daemon beside another one needs. All but the optional ones must
    /// be there: the other one fills those that both have, and would leave one that it does not know as it is.
    /// Rows for its workers must be there already, because the other one goes on writing those that
    /// are there. Answers how many workers have rows.
    pub(super) fn check_beside(&self, specs: &[Spec], workers: u32) -> Result<u32, BpfError> {
        for spec in specs {
            let path = self.path.join(spec.name);
            if !OPTIONAL.contains(&spec.name) && info(spec.name, &path)?.is_none() {
                return Err(BpfError::NotShared { path });
            }
        }
        let path = self.path.join(map::REQUEST_COUNTERS);
        let rows = info(map::REQUEST_COUNTERS, &path)?.map(|info| info.max_entries());
        match rows.map(|entries| entries / abi::MAX_PATHS) {
            None => Err(BpfError::NotPinned { path }),
            Some(rows) if rows < workers => Err(BpfError::Rows { workers, rows }),
            Some(_) => self.check(specs, workers).map(|(rows, _)| rows),
        }
    }

    /// Compares every pinned map. Answers how many workers the request counters must have rows
    /// for, and what to copy if the pinned ones have fewer.
    pub(super) fn check(
        &self,
        specs: &[Spec],
        workers: u32,
    ) -> Result<(u32, Option<Migration>), BpfError> {
        let mut rows = workers;
        for spec in specs {
            let path = self.path.join(spec.name);
            if let Some(found) = info(spec.name, &path)? {
                spec.check(&path, &found)?;
                if spec.name == map::REQUEST_COUNTERS {
                    rows = found.max_entries() / abi::MAX_PATHS;
                }
            }
        }
        let (pin, old) = (self.path.join(map::REQUEST_COUNTERS), self.path.join(MIGRATING));
        let interrupted = info(map::REQUEST_COUNTERS, &old)?;
        if rows >= workers {
            return Ok((rows, interrupted.map(|_| Migration { old })));
        }
        if interrupted.is_some() {
            // The copy was never finished, so the smaller map is newer and has not been counted in.
            fs::remove_file(&pin)
        } else {
            fs::rename(&pin, &old)
        }
        .map_err(|source| BpfError::PinDirectory {
            action: "replace",
            path: pin,
            source,
        })?;
        Ok((workers, Some(Migration { old })))
    }
}

/// Request counters of fewer workers, to be copied into a larger map.
#[derive(Debug)]
pub(super) struct Migration {
    old: PathBuf,
}

impl Migration {
    /// Copies the rows and removes the old map. Rows of one worker stand together, so the old
    /// array is the new one's beginning.
    pub(super) fn finish(self, maps: &Maps) -> Result<(), BpfError> {
        let old = region_at(map::REQUEST_COUNTERS, &self.old)?;
        let new = maps.region(map::REQUEST_COUNTERS)?;
        for (to, from) in new.words().iter().zip(old.words()) {
            to.store(from.load(Relaxed), Relaxed);
        }
        fs::remove_file(&self.old).map_err(|source| BpfError::PinDirectory {
            action: "remove",
            path: self.old,
            source,
        })
    }
}

/// Whether a path leads to what is open; not if it leads nowhere.
fn is_same(path: &Path, open: &File) -> io::Result<bool> {
    let number = |found: Metadata| (found.dev(), found.ino());
    match path.metadata() {
        Ok(here) => Ok(number(here) == number(open.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a pin directory is missing or empty.
fn is_vacant(directory: &Path) -> bool {
    fs::read_dir(directory).map_or(!directory.exists(), |mut entries| entries.next().is_none())
}

/// The layout that a pin directory is named after, as `v3`.
fn layout(directory: &Path) -> Option<u32> {
    directory.file_name()?.to_str()?.strip_prefix('v')?.parse().ok()
}

/// Where the layouts that are continued would stand, the latest first; nowhere if the directory is
/// not named after this version's.
fn continued(directory: &Path) -> Vec<PathBuf> {
    if layout(directory) != Some(abi::ABI_VERSION) {
        return Vec::new();
    }
    let earlier = CONTINUED.iter().rev();
    earlier.map(|version| directory.with_file_name(format!("v{version}"))).collect()
}

/// The name under which the layouts that are continued own what outlives a daemon outside the
/// directory: that of the first of them, or the directory itself.
pub fn lineage(directory: &Path) -> PathBuf {
    continued(directory).pop().unwrap_or_else(|| directory.to_owned())
}

/// Whether the pins of a directory beside this one are continued by the next start: they are of an
/// earlier layout that can be, and this version has none yet.
pub fn is_continued(other: &Path, directory: &Path) -> bool {
    is_vacant(directory) && continued(directory).iter().any(|earlier| earlier == other)
}

/// Directories of other layouts beside this one, as `v2` beside `v3`.
pub fn other_layouts(directory: &Path) -> Vec<PathBuf> {
    let Some(Ok(beside)) = directory.parent().map(fs::read_dir) else { return Vec::new() };
    beside
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| layout(path).is_some() && path.file_name() != directory.file_name())
        .collect()
}

/// Refuses to start beside programs of another layout: both would steer and count the same packets.
fn refuse_other_layouts(directory: &Path) -> Result<(), BpfError> {
    if layout(directory) != Some(abi::ABI_VERSION) {
        return Ok(());
    }
    for other in other_layouts(directory) {
        let running = super::is_running(&other);
        if running || links::pins(&other).is_ok_and(|links| !links.is_empty()) {
            return Err(BpfError::OtherLayout { directory: other, running });
        }
    }
    Ok(())
}

/// Compares every pinned map with this version's, whatever the number of workers and CPUs. Answers
/// how many there are.
pub(super) fn check_all(directory: &Path) -> Result<usize, BpfError> {
    let mut found = 0;
    for spec in &specs(1, 1) {
        let path = directory.join(spec.name);
        if let Some(info) = info(spec.name, &path)? {
            Spec { entries: info.max_entries(), ..*spec }.check(&path, &info)?;
            found += 1;
        }
    }
    Ok(found)
}

/// Maps a pinned array of counters or names into memory, for reading, also while the daemon is
/// down. `directory` is where the maps are pinned: [`abi::PIN_DIRECTORY`] unless the daemon was
/// told otherwise. Use it with [`crate::counters::Regions::open`].
pub fn pinned_region(directory: &Path, name: &'static str) -> Result<Mapping, BpfError> {
    region(name, &pinned(directory, name)?)
}

/// Opens a pinned map of this version's layout.
pub(super) fn pinned(directory: &Path, name: &'static str) -> Result<MapData, BpfError> {
    let path = directory.join(name);
    let Some(found) = info(name, &path)? else { return Err(BpfError::NotPinned { path }) };
    for spec in specs(1, 1).iter().filter(|spec| spec.name == name) {
        // The number of rows depends on the machine and the workers; `Regions` checks it.
        Spec { entries: found.max_entries(), ..*spec }.check(&path, &found)?;
    }
    MapData::from_pin(&path).map_err(|error| BpfError::map("open", name, error))
}

/// Removes every pin, and with them the counts. Answers what was removed; nothing if there was
/// nothing. Fails while a daemon uses them.
pub fn unload(directory: &Path) -> Result<Vec<PathBuf>, BpfError> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let pins = PinDirectory::take(directory)?;
    let mut removed = Vec::new();
    let links = links::pins(directory).map_err(|source| BpfError::PinDirectory {
        action: "read",
        path: directory.to_owned(),
        source,
    })?;
    let links = links.into_iter().map(|path| (links::remove(&path), path));
    let others = names().chain([MIGRATING, PASSING]).map(|name| pins.path().join(name));
    let others = others.map(|path| (fs::remove_file(&path), path));
    for (result, path) in links.chain(others) {
        match result {
            Ok(()) => removed.push(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(BpfError::PinDirectory { action: "remove", path, source }),
        }
    }
    // The directories too, where nothing else is in them.
    for path in [Some(directory), directory.parent()].into_iter().flatten() {
        if fs::remove_dir(path).is_err() {
            break;
        }
        removed.push(path.to_owned());
    }
    Ok(removed)
}

/// The names of every pinned map.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    specs(1, 1).into_iter().map(|spec| spec.name)
}

/// What a pin leads to; none if there is none.
fn info(name: &'static str, path: &Path) -> Result<Option<MapInfo>, BpfError> {
    match MapInfo::from_pin(path) {
        Ok(info) => Ok(Some(info)),
        Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(BpfError::map("open the pinned", name, error)),
    }
}

fn region_at(name: &'static str, path: &Path) -> Result<Mapping, BpfError> {
    let data = MapData::from_pin(path).map_err(|error| BpfError::map("open", name, error))?;
    region(name, &data)
}

/// Maps an array into memory, whole.
pub(super) fn region(name: &'static str, data: &MapData) -> Result<Mapping, BpfError> {
    let failed = |error: MapError| BpfError::map("map into memory", name, error);
    let info = data.info().map_err(failed)?;
    let words = info.value_size() as usize / 8 * info.max_entries() as usize;
    Mapping::of_file(data.fd().as_fd(), words).map_err(|error| failed(error.into()))
}
