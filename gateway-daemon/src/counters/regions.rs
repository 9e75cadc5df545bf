//! The mapped arrays, and where a row begins.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use gateway_common::abi::{self, map};
use gateway_common::counters::{
    PACKET_ROWS_PER_CPU, PacketCounters, RequestCounters, WireCounters, packet_row, request_row,
    wire_row,
};
use gateway_common::hook::Hook;
use gateway_common::path::{PathName, PathSlot};
use gateway_common::reasons::ReasonCounters;
use gateway_common::steering::ListenerName;

use super::WorkerCounters;
use crate::sys::mmap::Mapping;

/// The mapped arrays, by map name.
pub const ARRAYS: [&str; 6] = [
    map::REQUEST_COUNTERS,
    map::PACKET_COUNTERS,
    map::WIRE_COUNTERS,
    map::REASON_COUNTERS,
    map::PATH_NAMES,
    map::LISTENER_NAMES,
];

/// Words of a path's name row.
pub(super) const PATH_NAME_WORDS: usize = size_of::<PathName>() / 8;
/// Words of a listener's name row.
pub(super) const LISTENER_NAME_WORDS: usize = size_of::<ListenerName>() / 8;

/// Why the counters cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// The arrays do not fit each other or this version.
    #[error(
        "map {map} holds {words} words, which is not a multiple of the {unit} of one {unit_name}: \
         another version made it; remove it with `gateway-daemon unload`"
    )]
    Size {
        /// The map's name.
        map: &'static str,
        /// What it holds.
        words: usize,
        /// What it must be a multiple of.
        unit: usize,
        /// What the multiple counts.
        unit_name: &'static str,
    },
    /// No memory.
    #[error("cannot allocate memory for the counters")]
    Memory(#[source] io::Error),
}

/// The six mapped arrays.
#[derive(Clone, Debug)]
pub struct Regions(Arc<Arrays>);

#[derive(Debug)]
struct Arrays {
    requests: Mapping,
    packets: Mapping,
    wire: Mapping,
    reasons: Mapping,
    path_names: Mapping,
    listener_names: Mapping,
    workers: u32,
    cpus: u32,
    shared: AtomicBool,
    /// Whether no path has a name.
    nameless: AtomicBool,
}

impl Regions {
    /// Takes the six arrays from `source`, which is asked for each by map name.
    pub fn open<E: From<RegionError>>(
        mut source: impl FnMut(&'static str) -> Result<Mapping, E>,
    ) -> Result<Self, E> {
        let requests = source(map::REQUEST_COUNTERS)?;
        let packets = source(map::PACKET_COUNTERS)?;
        let wire = source(map::WIRE_COUNTERS)?;
        let reasons = source(map::REASON_COUNTERS)?;
        let path_names = source(map::PATH_NAMES)?;
        let listener_names = source(map::LISTENER_NAMES)?;
        let paths = abi::MAX_PATHS as usize;
        let workers =
            units(map::REQUEST_COUNTERS, &requests, RequestCounters::WORDS * paths, "worker")?;
        let cpu = PacketCounters::WORDS * PACKET_ROWS_PER_CPU as usize;
        let cpus = units(map::PACKET_COUNTERS, &packets, cpu, "CPU")?;
        let cpus = cpus.min(units(map::WIRE_COUNTERS, &wire, WireCounters::WORDS * paths, "CPU")?);
        let most = ReasonCounters::WORDS * abi::MAX_WORKERS as usize;
        units(map::REASON_COUNTERS, &reasons, most, "row for every worker")?;
        units(map::PATH_NAMES, &path_names, PATH_NAME_WORDS * paths, "name table")?;
        let listeners = LISTENER_NAME_WORDS * abi::MAX_LISTENERS as usize;
        units(map::LISTENER_NAMES, &listener_names, listeners, "name table")?;
        Ok(Self(Arc::new(Arrays {
            requests,
            packets,
            wire,
            reasons,
            path_names,
            listener_names,
            workers,
            cpus,
            shared: AtomicBool::new(false),
            nameless: AtomicBool::new(false),
        })))
    }

    /// Arrays that nobody else reads, gone with the value; see [`Memory`](super::Memory).
    pub fn anonymous(workers: u32) -> Result<Self, RegionError> {
        super::Memory::new(workers)?.regions()
    }

    /// Says whether another daemon still writes rows, of which this one takes over. While it does,
    /// no row is zeroed for another name.
    pub fn set_shared(&self, shared: bool) {
        self.0.shared.store(shared, Relaxed);
    }

    pub(super) fn is_shared(&self) -> bool {
        self.0.shared.load(Relaxed)
    }

    /// Says whether no path has a name, so that nobody need look: looking at a page that was never
    /// written takes memory for it.
    pub(super) fn set_nameless(&self, nameless: bool) {
        self.0.nameless.store(nameless, Relaxed);
    }

    pub(super) fn is_nameless(&self) -> bool {
        self.0.nameless.load(Relaxed)
    }

    /// Nobody else writes any more: what rows beyond those of `workers` have open is lost.
    pub fn settle_beyond(&self, workers: u32) {
        for worker in workers..self.workers() {
            WorkerCounters::new(self.clone(), worker).settle(0);
        }
    }

    /// Workers that have rows.
    pub fn workers(&self) -> u32 {
        self.0.workers
    }

    /// The writing end of a worker; none if it has no rows.
    ///
    /// A row has one writer: ask once per worker, and use it on that worker's thread.
    pub fn worker(&self, worker: u32) -> Option<WorkerCounters> {
        (worker < self.workers()).then(|| WorkerCounters::new(self.clone(), worker))
    }

    pub(super) fn cpus(&self) -> u32 {
        self.0.cpus
    }

    pub(super) fn request_row(&self, path: PathSlot, worker: u32) -> &[AtomicU64] {
        row(&self.0.requests, request_row(path, worker), RequestCounters::WORDS)
    }

    pub(super) fn packet_row(&self, cpu: u32, hook: Hook, listener: u32) -> &[AtomicU64] {
        row(&self.0.packets, packet_row(cpu, hook, listener), PacketCounters::WORDS)
    }

    pub(super) fn wire_row(&self, path: PathSlot, cpu: u32) -> &[AtomicU64] {
        row(&self.0.wire, wire_row(path, cpu), WireCounters::WORDS)
    }

    pub(super) fn reason_row(&self, worker: u32) -> &[AtomicU64] {
        row(&self.0.reasons, worker, ReasonCounters::WORDS)
    }

    pub(super) fn path_name(&self, slot: u32) -> &[AtomicU64] {
        row(&self.0.path_names, slot, PATH_NAME_WORDS)
    }

    pub(super) fn listener_name(&self, slot: u32) -> &[AtomicU64] {
        row(&self.0.listener_names, slot, LISTENER_NAME_WORDS)
    }
}

fn row(array: &Mapping, row: u32, words: usize) -> &[AtomicU64] {
    let start = row as usize * words;
    &array.words()[start..start + words]
}

/// How many whole units of `unit` words an array holds.
fn units(
    map: &'static str,
    array: &Mapping,
    unit: usize,
    unit_name: &'static str,
) -> Result<u32, RegionError> {
    let words = array.words().len();
    match u32::try_from(words / unit) {
        Ok(count) if count > 0 && words.is_multiple_of(unit) => Ok(count),
        _ => Err(RegionError::Size { map, words, unit, unit_name }),
    }
}

/// The words of a row, each read whole.
pub(super) fn read<const WORDS: usize>(row: &[AtomicU64]) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    for (word, cell) in words.iter_mut().zip(row) {
        *word = cell.load(Relaxed);
    }
    words
}

/// Sets every word of a row to zero.
pub(super) fn zero(row: &[AtomicU64]) {
    for cell in row {
        cell.store(0, Relaxed);
    }
}
