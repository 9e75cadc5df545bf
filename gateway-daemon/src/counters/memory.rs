//! The arrays without the kernel half: anonymous files of the same form, which a daemon that takes
//! over is given.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gateway_common::abi::{self, map};
use gateway_common::counters::{
    PACKET_ROWS_PER_CPU, PacketCounters, RequestCounters, WireCounters,
};
use gateway_common::reasons::ReasonCounters;

use super::regions::{LISTENER_NAME_WORDS, PATH_NAME_WORDS};
use super::{ARRAYS, RegionError, Regions};
use crate::sys::mmap::{self, Mapping};

/// A file in memory for each array. Nobody else can find them, and they are gone with the last
/// process that has them open. The packet and wire rows stay zero.
#[derive(Debug)]
pub struct Memory([OwnedFd; 6]);

impl Memory {
    /// Zeroed arrays for so many workers.
    pub fn new(workers: u32) -> Result<Self, RegionError> {
        let mut files = Vec::new();
        for name in ARRAYS {
            files.push(mmap::memory_file(name, words(name, workers)).map_err(RegionError::Memory)?);
        }
        Self::from_files(files).ok_or_else(|| RegionError::Memory(std::io::ErrorKind::Other.into()))
    }

    /// The files of another daemon, in the order of [`Self::files`].
    pub fn from_files(files: Vec<OwnedFd>) -> Option<Self> {
        Some(Self(files.try_into().ok()?))
    }

    /// What to give to a daemon that takes over.
    pub fn files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(AsFd::as_fd)
    }

    /// Maps the arrays.
    pub fn regions(&self) -> Result<Regions, RegionError> {
        let regions = Regions::open(|name| {
            let file = self.file(name)?;
            let words = mmap::words_of(file).map_err(RegionError::Memory)?;
            Mapping::of_file(file, words).map_err(RegionError::Memory)
        })?;
        let names = self.file(map::PATH_NAMES)?;
        regions.set_nameless(mmap::is_unwritten(names).map_err(RegionError::Memory)?);
        Ok(regions)
    }

    fn file(&self, name: &str) -> Result<BorrowedFd<'_>, RegionError> {
        let file = ARRAYS.iter().position(|array| *array == name).map(|at| self.0[at].as_fd());
        file.ok_or(RegionError::Memory(std::io::ErrorKind::NotFound.into()))
    }
}

fn words(name: &'static str, workers: u32) -> usize {
    let paths = abi::MAX_PATHS as usize;
    match name {
        map::REQUEST_COUNTERS => RequestCounters::WORDS * paths * workers as usize,
        map::PACKET_COUNTERS => PacketCounters::WORDS * PACKET_ROWS_PER_CPU as usize,
        map::WIRE_COUNTERS => WireCounters::WORDS * paths,
        map::REASON_COUNTERS => ReasonCounters::WORDS * abi::MAX_WORKERS as usize,
        map::PATH_NAMES => PATH_NAME_WORDS * paths,
        _ => LISTENER_NAME_WORDS * abi::MAX_LISTENERS as usize,
    }
}

#[cfg(test)]
mod tests {
    use gateway_common::path::PathSlot;
    use gateway_common::verdict::RequestVerdict;

    use super::*;
    use crate::counters::{PathSlots, Totals};

    #[test]
    fn whoever_has_the_files_counts_in_the_same_rows() {
        let memory = Memory::new(2).unwrap();
        let first = memory.regions().unwrap();
        let files = memory.files().map(|file| file.try_clone_to_owned().unwrap()).collect();
        let second = Memory::from_files(files).unwrap().regions().unwrap();
        assert_eq!(second.workers(), 2);
        second.set_shared(true);
        for regions in [&first, &second] {
            let worker = regions.worker(1).unwrap();
            worker.record(PathSlot(0), RequestVerdict::Allowed, 0, 0);
        }
        drop(memory);
        assert_eq!(Totals::read(&first).requests().allowed, 2);
        assert_eq!(Totals::read(&first), Totals::read(&second));
    }

    #[test]
    fn names_are_looked_for_in_files_that_were_written() {
        let memory = Memory::new(1).unwrap();
        let regions = memory.regions().unwrap();
        assert!(regions.is_nameless());
        let slots = |regions: Regions| PathSlots::new(regions).assign(&["/a".to_owned()]).slots;
        let first = slots(regions.clone());
        assert!(!regions.is_nameless());
        let again = memory.regions().unwrap();
        assert!(!again.is_nameless());
        assert_eq!(slots(again), first);
    }

    #[test]
    fn a_number_of_files_that_is_not_ours_is_refused() {
        assert!(Memory::from_files(Vec::new()).is_none());
    }
}
