//! Events that the programs tell of.

use std::mem::offset_of;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use aya::maps::{Map, MapData, RingBuf};
use gateway_common::abi::map;
use gateway_common::budget::{CpuState, Event};

use super::{BpfError, pins};
use crate::sys::mmap::Mapping;

/// The ring buffer, open for reading, and how much of it was lost. Works without privilege.
pub struct Events {
    ring: RingBuf<MapData>,
    cpus: Mapping,
}

impl Events {
    /// Opens the pinned ring buffer.
    pub fn open(directory: &Path) -> Result<Self, BpfError> {
        let failed = |error| BpfError::map("open", map::EVENTS, error);
        let data = pins::pinned(directory, map::EVENTS)?;
        let ring = RingBuf::try_from(Map::RingBuf(data)).map_err(failed)?;
        Ok(Self { ring, cpus: pins::pinned_region(directory, map::CPU_STATE)? })
    }

    /// The next event, if there is one.
    pub fn next_event(&mut self) -> Option<Event> {
        let record = self.ring.next()?;
        record.first_chunk().map(Event::from_bytes)
    }

    /// Events that found no room since the map was made, on all CPUs.
    pub fn lost(&self) -> u64 {
        const WORDS: usize = size_of::<CpuState>() / 8;
        let rows = self.cpus.words().chunks_exact(WORDS);
        rows.map(|row| row[offset_of!(CpuState, events_lost) / 8].load(Relaxed)).sum()
    }
}
