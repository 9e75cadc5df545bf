//! Port numbers: which belong to some listener, and by which number their range is known. The
//! programs look here before they look for an address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::atomic::Ordering::{Relaxed, Release};

use aya::maps::{Array, MapData};
use gateway_common::abi::map;
use gateway_common::steering::{GatewayPort, GatewayPortEntry, PortFilter, PortFirst};

use super::BpfError;
use super::maps::{region, typed};
use super::object::OpenMaps;
use crate::counters::ListenerSlot;
use crate::model::port_range::PortRange;
use crate::sys::mmap::Mapping;

/// `PORT_FILTER`, `PORT_FIRST` and `PORT_ENTRIES`, and what they are worked out from.
pub(super) struct Numbers {
    /// What `GATEWAY_PORTS` holds.
    steered: BTreeMap<GatewayPort, (GatewayPortEntry, PortRange)>,
    filter: Array<MapData, u64>,
    firsts: Array<MapData, u64>,
    /// `PORT_ENTRIES`: two words per port.
    entries: Mapping,
}

/// A range, and whether it is steered for every address or for a named one.
type Group = (PortRange, bool);

impl Numbers {
    pub(super) fn take(opened: &mut OpenMaps) -> Result<Self, BpfError> {
        Ok(Self {
            steered: BTreeMap::new(),
            filter: typed(opened, map::PORT_FILTER)?,
            firsts: typed(opened, map::PORT_FIRST)?,
            entries: region(opened, map::PORT_ENTRIES)?,
        })
    }

    /// Notes an entry of `GATEWAY_PORTS`.
    pub(super) fn enter(&mut self, key: GatewayPort, entry: GatewayPortEntry, ports: PortRange) {
        self.steered.insert(key, (entry, ports));
    }

    /// Forgets an entry, if it is (still) that of this range.
    pub(super) fn leave(&mut self, key: GatewayPort, ports: PortRange) -> bool {
        let ours = self.steered.get(&key).is_some_and(|(_, range)| *range == ports);
        if ours {
            self.steered.remove(&key);
        }
        ours
    }

    pub(super) fn steered(&self) -> impl Iterator<Item = (GatewayPort, ListenerSlot)> {
        self.steered.iter().map(|(&key, (entry, _))| (key, ListenerSlot(entry.listener)))
    }

    /// The entries, with their ranges.
    pub(super) fn entries(
        &self,
    ) -> impl Iterator<Item = (GatewayPort, ListenerSlot, PortRange)> + '_ {
        self.steered
            .iter()
            .map(|(&key, &(entry, ports))| (key, ListenerSlot(entry.listener), ports))
    }

    /// Shows the ports of a range to the programs, by its first number.
    pub(super) fn show(&mut self, ports: PortRange) -> Result<(), BpfError> {
        let groups = self.groups();
        self.write_entries(ports);
        self.write_firsts(ports, &groups, Some(ports))?;
        self.write_filter(ports, &groups)
    }

    /// Hides those that are no range's any more.
    pub(super) fn hide(&mut self, ports: PortRange) -> Result<(), BpfError> {
        let groups = self.groups();
        self.write_filter(ports, &groups)?;
        self.write_firsts(ports, &groups, None)
    }

    /// Hides what another daemon shows and we do not.
    pub(super) fn hide_others(&mut self) -> Result<(), BpfError> {
        let mut masks = vec![0; PortFilter::ROWS as usize];
        for (range, any) in self.groups() {
            let bit = if any { PortFilter::ANY_ADDRESS } else { PortFilter::NAMED_ADDRESS };
            for PortFilter { row, shift } in range.iter().map(PortFilter::of) {
                masks[row as usize] |= bit << shift;
            }
        }
        (0..PortFilter::ROWS).zip(masks).try_for_each(|(row, mask)| {
            change(map::PORT_FILTER, &mut self.filter, row, |word| word & mask)
        })
    }

    /// Hides every port. Of a hidden one nobody asks the first of its range, which is written anew
    /// when it is shown again.
    pub(super) fn clear(&mut self) -> Result<(), BpfError> {
        self.steered.clear();
        (0..PortFilter::ROWS)
            .try_for_each(|row| change(map::PORT_FILTER, &mut self.filter, row, |_| 0))
    }

    fn groups(&self) -> BTreeSet<Group> {
        self.steered.iter().map(|(key, (_, ports))| (*ports, is_any(key))).collect()
    }

    /// The entry of each port of a range, if it is steered for every address.
    fn write_entries(&self, ports: PortRange) {
        let entry = self.steered.iter().find(|(key, (_, range))| *range == ports && is_any(key));
        let Some((_, (entry, _))) = entry else { return };
        for port in ports.iter() {
            let [counts, seed] = words(*entry);
            let at = 2 * usize::from(port);
            // A program that reads both meanwhile sees an old seed with a new listener at worst: it
            // chooses another worker, for a connection that has none yet.
            self.entries.words()[at + 1].store(seed, Relaxed);
            self.entries.words()[at].store(counts, Release);
        }
    }

    /// Two bits for each port.
    fn write_filter(&mut self, ports: PortRange, groups: &BTreeSet<Group>) -> Result<(), BpfError> {
        let bits = |port| {
            groups.iter().filter(|(range, _)| range.contains(port)).fold(0, |bits, (_, any)| {
                bits | if *any { PortFilter::ANY_ADDRESS } else { PortFilter::NAMED_ADDRESS }
            })
        };
        for (row, ports) in rows(ports, |port| PortFilter::of(port).row) {
            change(map::PORT_FILTER, &mut self.filter, row, |word| {
                ports.iter().fold(word, |word, &port| {
                    let shift = PortFilter::of(port).shift;
                    word & !(PortFilter::MASK << shift) | bits(port) << shift
                })
            })?;
        }
        Ok(())
    }

    /// Sixteen bits for each port. While a range is exchanged for another, the new one goes first.
    fn write_firsts(
        &mut self,
        ports: PortRange,
        groups: &BTreeSet<Group>,
        preferred: Option<PortRange>,
    ) -> Result<(), BpfError> {
        let first = |port| {
            let others = groups.iter().map(|(range, _)| *range);
            let range = preferred.into_iter().chain(others).find(|range| range.contains(port));
            range.map(PortRange::first).filter(|&first| first != port).unwrap_or(0)
        };
        for (row, ports) in rows(ports, |port| PortFirst::of(port).row) {
            change(map::PORT_FIRST, &mut self.firsts, row, |word| {
                ports.iter().fold(word, |word, &port| {
                    let shift = PortFirst::of(port).shift;
                    word & !(PortFirst::MASK << shift) | u64::from(first(port)) << shift
                })
            })?;
        }
        Ok(())
    }
}

/// Whether a key stands for every address.
fn is_any(key: &GatewayPort) -> bool {
    Ipv6Addr::from(key.address).to_canonical().is_unspecified()
}

/// An entry as it lies in memory.
fn words(entry: GatewayPortEntry) -> [u64; 2] {
    let mut counts = [0; 8];
    counts[..4].copy_from_slice(&entry.listener.to_ne_bytes());
    counts[4..].copy_from_slice(&entry.workers.to_ne_bytes());
    [u64::from_ne_bytes(counts), entry.seed]
}

/// The ports of a range, by the row that they stand in.
fn rows(ports: PortRange, row: impl Fn(u16) -> u32) -> BTreeMap<u32, Vec<u16>> {
    let mut rows: BTreeMap<u32, Vec<u16>> = BTreeMap::new();
    for port in ports.iter() {
        rows.entry(row(port)).or_default().push(port);
    }
    rows
}

/// Changes a row, if there is something to change.
fn change(
    name: &'static str,
    array: &mut Array<MapData, u64>,
    row: u32,
    change: impl FnOnce(u64) -> u64,
) -> Result<(), BpfError> {
    let failed = |error| BpfError::map("write", name, error);
    let before = array.get(&row, 0).map_err(failed)?;
    let after = change(before);
    if after == before { Ok(()) } else { array.set(row, after, 0).map_err(failed) }
}
