//! Events that the programs tell of.

use std::path::Path;

use aya::maps::{Map, MapData, RingBuf};
use gateway_common::abi::map;
use gateway_common::budget::Event;

use super::{BpfError, pins};

/// The ring buffer, open for reading. Works without privilege.
pub struct Events(RingBuf<MapData>);

impl Events {
    /// Opens the pinned ring buffer.
    pub fn open(directory: &Path) -> Result<Self, BpfError> {
        let failed = |error| BpfError::map("open", map::EVENTS, error);
        let data = pins::pinned(directory, map::EVENTS)?;
        RingBuf::try_from(Map::RingBuf(data)).map(Self).map_err(failed)
    }

    /// The next event, if there is one.
    pub fn next_event(&mut self) -> Option<Event> {
        let record = self.0.next()?;
        record.first_chunk().map(Event::from_bytes)
    }
}
