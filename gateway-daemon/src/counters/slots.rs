//! Slots: which name has which row.
//!
//! The names themselves stand in mapped arrays, so that they outlive the daemon: a path or
//! listener keeps its slot, and so its counts, across configurations and restarts.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use gateway_common::abi;
use gateway_common::counters::RequestCounters;
use gateway_common::hook::Hook;
use gateway_common::path::PathSlot;
use gateway_common::reasons::ReasonCounters;

use super::Regions;
use super::regions::{read, zero};

/// The dense number of a configured listener (a port). Slot 0 is *no listener*.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ListenerSlot(pub u32);

impl ListenerSlot {
    /// *No listener*: packets that belong to none.
    pub const NONE: Self = Self(0);
}

/// Slots for a list of names, in the list's order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Assignment<Slot> {
    /// One slot per name; slot 0 for the names that found no room.
    pub slots: Vec<Slot>,
    /// How many found no room; report it. They count under slot 0.
    pub unplaced: usize,
}

/// The slots of paths. One per process, on the control thread.
#[derive(Debug)]
pub struct PathSlots {
    regions: Regions,
    table: Table,
}

impl PathSlots {
    /// Continues with the names that the arrays hold.
    pub fn new(regions: Regions) -> Self {
        let nameless = regions.is_nameless();
        let name = |slot| if nameless { None } else { read_name(regions.path_name(slot)) };
        let table = Table::new(abi::MAX_PATHS, name);
        Self { regions, table }
    }

    /// Gives every name a slot and frees the slots of names that are not among them.
    ///
    /// A known name keeps its slot and counts. A freed slot keeps name and counts until it is
    /// needed again, longest-freed first, and only once no slot was never used; it is zeroed then.
    /// Not while another daemon still counts there: its names may be among the freed.
    pub fn assign(&mut self, names: &[String]) -> Assignment<PathSlot> {
        let Self { regions, table } = self;
        let names: Vec<String> = names.iter().map(|name| fit(name, abi::PATH_NAME_BYTES)).collect();
        let assignment = table.assign(&names, !regions.is_shared(), |slot, name| {
            (0..regions.workers()).for_each(|w| retire(regions, PathSlot(slot), w));
            (0..regions.cpus()).for_each(|cpu| zero(regions.wire_row(PathSlot(slot), cpu)));
            write_name(regions.path_name(slot), name);
            regions.set_nameless(false);
        });
        assignment.map(PathSlot)
    }
}

/// The slots of listeners. One per process, on the control thread.
#[derive(Debug)]
pub struct ListenerSlots {
    regions: Regions,
    table: Table,
}

impl ListenerSlots {
    /// Continues with the names that the arrays hold.
    pub fn new(regions: Regions) -> Self {
        let table = Table::new(abi::MAX_LISTENERS, |slot| read_name(regions.listener_name(slot)));
        Self { regions, table }
    }

    /// Gives every name a slot, as [`PathSlots::assign`] does.
    pub fn assign(&mut self, names: &[String]) -> Assignment<ListenerSlot> {
        let Self { regions, table } = self;
        let names: Vec<String> =
            names.iter().map(|name| fit(name, abi::LISTENER_NAME_BYTES)).collect();
        let assignment = table.assign(&names, !regions.is_shared(), |slot, name| {
            for hook in Hook::ALL {
                (0..regions.cpus()).for_each(|cpu| zero(regions.packet_row(cpu, hook, slot)));
            }
            write_name(regions.listener_name(slot), name);
        });
        assignment.map(ListenerSlot)
    }
}

impl Assignment<u32> {
    fn map<Slot>(self, slot: impl Fn(u32) -> Slot) -> Assignment<Slot> {
        let slots = self.slots.into_iter().map(slot).collect();
        Assignment { slots, unplaced: self.unplaced }
    }
}

/// Names and slots, without the rows.
#[derive(Debug)]
struct Table {
    /// What the last assignment wanted; at first, what the arrays held.
    wanted: BTreeMap<String, u32>,
    /// Names that are not wanted, with their slots and the assignment that freed them.
    freed: BTreeMap<String, (u32, u64)>,
    /// The same by age, longest-freed first; an entry whose name is wanted again is passed over.
    ages: VecDeque<(String, u64)>,
    /// Slots that never had a name, lowest last.
    unused: Vec<u32>,
    /// Assignments so far.
    assignments: u64,
}

impl Table {
    fn new(capacity: u32, name: impl Fn(u32) -> Option<String>) -> Self {
        let mut table = Self {
            wanted: BTreeMap::new(),
            freed: BTreeMap::new(),
            ages: VecDeque::new(),
            unused: Vec::new(),
            assignments: 0,
        };
        for slot in (1..capacity).rev() {
            match name(slot) {
                Some(name) => {
                    // A name that stands twice, which no assignment writes, keeps the lower slot.
                    if let Some(higher) = table.wanted.insert(name, slot) {
                        table.unused.push(higher);
                    }
                }
                None => table.unused.push(slot),
            }
        }
        table
    }

    /// `take` is called for each name that gets a slot it did not have: it zeroes the slot's rows
    /// and writes the name. `recycle`: slots of names that are freed may be given away.
    fn assign(
        &mut self,
        names: &[String],
        recycle: bool,
        mut take: impl FnMut(u32, &str),
    ) -> Assignment<u32> {
        let mut before = std::mem::take(&mut self.wanted);
        for name in names {
            if let Some((name, slot)) = before.remove_entry(name) {
                self.wanted.insert(name, slot);
            }
        }
        self.assignments += 1;
        for (name, slot) in before {
            self.ages.push_back((name.clone(), self.assignments));
            self.freed.insert(name, (slot, self.assignments));
        }
        let mut unplaced = 0;
        let mut slots = Vec::with_capacity(names.len());
        for name in names {
            let known = self.wanted.get(name).copied();
            let slot =
                known.or_else(|| self.freed.remove(name).map(|(slot, _)| slot)).or_else(|| {
                    let slot = self.unused.pop().or_else(|| self.recycled(recycle))?;
                    take(slot, name);
                    Some(slot)
                });
            match slot {
                Some(slot) => {
                    self.wanted.insert(name.clone(), slot);
                }
                None => unplaced += 1,
            }
            slots.push(slot.unwrap_or(0));
        }
        Assignment { slots, unplaced }
    }

    /// The slot that was freed longest ago.
    fn recycled(&mut self, allowed: bool) -> Option<u32> {
        while allowed && let Some((name, age)) = self.ages.pop_front() {
            if let Some(&(slot, freed)) = self.freed.get(&name)
                && freed == age
            {
                self.freed.remove(&name);
                return Some(slot);
            }
        }
        None
    }
}

/// Zeroes a path's row of a worker, and keeps its refusals where the worker's reasons are.
fn retire(regions: &Regions, slot: PathSlot, worker: u32) {
    let row = regions.request_row(slot, worker);
    let counted = RequestCounters::from_words(read(row));
    let retired = &regions.reason_row(worker)[ReasonCounters::RETIRED];
    retired.fetch_add(counted.refused(), Relaxed);
    zero(row);
}

/// Cuts a name to `room` bytes. What is cut off stays in a hash, so that two long names with the
/// same beginning keep different rows.
fn fit(name: &str, room: usize) -> String {
    if name.len() <= room {
        return name.to_owned();
    }
    // FNV-1a: stable over versions, which the standard library's hasher does not promise.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let tail = format!("#{hash:016x}");
    let end = name.floor_char_boundary(room - tail.len());
    format!("{}{tail}", &name[..end])
}

/// Reads a name row: a word with the length, then the bytes. None if it never had a name.
pub(super) fn read_name(row: &[AtomicU64]) -> Option<String> {
    let (length, text) = row.split_first()?;
    // The length is the word's first half (its second is zero) on the little-endian machines that
    // this runs on; the writer stores it last.
    let length = usize::try_from(length.load(Acquire)).ok()?;
    if length == 0 || length > text.len() * 8 {
        return None;
    }
    let bytes: Vec<u8> = text.iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect();
    Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

fn write_name(row: &[AtomicU64], name: &str) {
    let Some((length, text)) = row.split_first() else { return };
    length.store(0, Release);
    let mut chunks = name.as_bytes().chunks(8);
    for word in text {
        let mut bytes = [0; 8];
        let chunk = chunks.next().unwrap_or_default();
        bytes[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_le_bytes(bytes), Relaxed);
    }
    length.store(name.len() as u64, Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_name_keeps_its_slot_and_a_freed_one_is_taken_last() {
        let mut table = Table::new(4, |_| None);
        let mut taken = Vec::new();
        let mut assign = |wanted: &[&str]| {
            let assignment = table.assign(&names(wanted), true, |slot, name| {
                taken.push(format!("{slot}={name}"));
            });
            (assignment.slots, assignment.unplaced, std::mem::take(&mut taken).join(" "))
        };
        let rows = [
            ("first", vec!["a", "b"], vec![1, 2], 0, "1=a 2=b"),
            ("order does not matter", vec!["b", "a"], vec![2, 1], 0, ""),
            ("b leaves, c takes an unused slot", vec!["a", "c"], vec![1, 3], 0, "3=c"),
            ("b returns to its slot", vec!["a", "b", "c"], vec![1, 2, 3], 0, ""),
            ("full", vec!["a", "b", "c", "d"], vec![1, 2, 3, 0], 1, ""),
            ("c leaves, d takes its slot", vec!["a", "b", "d"], vec![1, 2, 3], 0, "3=d"),
            ("a name twice has one slot", vec!["a", "a"], vec![1, 1], 0, ""),
        ];
        for (row, wanted, slots, unplaced, fresh) in rows {
            assert_eq!(assign(&wanted), (slots, unplaced, fresh.to_owned()), "{row}");
        }
    }

    #[test]
    fn the_longest_freed_slot_goes_first() {
        let mut table = Table::new(3, |_| None);
        assert_eq!(table.assign(&names(&["a", "b"]), true, |_, _| ()).slots, [1, 2]);
        assert_eq!(table.assign(&names(&["a"]), true, |_, _| ()).slots, [1]);
        assert_eq!(table.assign(&names(&[]), true, |_, _| ()).slots, [0_u32; 0]);
        assert_eq!(table.assign(&names(&["c"]), true, |_, _| ()).slots, [2]);
    }

    #[test]
    fn a_freed_slot_is_kept_while_another_daemon_counts_there() {
        let regions = Regions::anonymous(1).unwrap();
        let many = |prefix: &str| -> Vec<String> {
            (1..abi::MAX_LISTENERS).map(|number| format!("{prefix}{number}")).collect()
        };
        let mut slots = ListenerSlots::new(regions.clone());
        assert_eq!(slots.assign(&many("old")).unplaced, 0);
        regions.set_shared(true);
        assert_eq!(slots.assign(&many("new")).unplaced, many("new").len());
        regions.set_shared(false);
        assert_eq!(slots.assign(&many("new")).unplaced, 0);
    }

    #[test]
    fn names_outlive_the_table() {
        let regions = Regions::anonymous(2).unwrap();
        let wanted = names(&["PathPrefix /", "Exact /productpage"]);
        let mut slots = PathSlots::new(regions.clone());
        assert_eq!(slots.assign(&wanted).slots, [PathSlot(1), PathSlot(2)]);
        let mut again = PathSlots::new(regions.clone());
        let reversed = names(&["Exact /productpage", "PathPrefix /"]);
        assert_eq!(again.assign(&reversed).slots, [PathSlot(2), PathSlot(1)]);
        assert_eq!(read_name(regions.path_name(2)).unwrap(), "Exact /productpage");
        let listeners = ListenerSlots::new(regions).assign(&names(&["http"])).slots;
        assert_eq!(listeners, [ListenerSlot(1)]);
    }

    #[test]
    fn long_names_are_cut_and_stay_different() {
        let one = format!("PathPrefix /{}a", "é".repeat(200));
        let two = format!("PathPrefix /{}b", "é".repeat(200));
        let (one, two) = (fit(&one, 240), fit(&two, 240));
        assert!(one.len() <= 240 && two.len() <= 240);
        assert_ne!(one, two);
        assert_eq!(fit("short", 240), "short");
        let regions = Regions::anonymous(1).unwrap();
        let mut slots = PathSlots::new(regions.clone());
        assert_eq!(slots.assign(&[one.clone(), two]).slots, [PathSlot(1), PathSlot(2)]);
        assert_eq!(read_name(regions.path_name(1)).unwrap(), one);
    }
}
