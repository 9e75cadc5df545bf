//! Sums of what the kernel half counts, over CPUs.

use gateway_common::abi;
use gateway_common::counters::{PacketCounters, WireCounters};
use gateway_common::hook::Hook;
use gateway_common::path::PathSlot;

use super::Regions;
use super::regions::read;

/// What all CPUs saw at a hook for a listener.
pub(super) fn packets(regions: &Regions, hook: Hook, listener: u32) -> PacketCounters {
    let mut sum = [0; PacketCounters::WORDS];
    for cpu in 0..regions.cpus() {
        add(&mut sum, read(regions.packet_row(cpu, hook, listener)));
    }
    PacketCounters::from_words(sum)
}

impl Regions {
    /// What all CPUs saw at XDP for all listeners together.
    pub fn arrived_for_listeners(&self) -> PacketCounters {
        let mut sum = [0; PacketCounters::WORDS];
        for cpu in 0..self.cpus() {
            for listener in 1..abi::MAX_LISTENERS {
                add(&mut sum, read(self.packet_row(cpu, Hook::Xdp, listener)));
            }
        }
        PacketCounters::from_words(sum)
    }
}

/// What all CPUs saw leave for a path.
pub(super) fn wire(regions: &Regions, path: PathSlot) -> WireCounters {
    let mut sum = [0; WireCounters::WORDS];
    for cpu in 0..regions.cpus() {
        add(&mut sum, read(regions.wire_row(path, cpu)));
    }
    WireCounters::from_words(sum)
}

/// Adds a row's words to a sum.
pub(super) fn add<const WORDS: usize>(sum: &mut [u64; WORDS], row: [u64; WORDS]) {
    for (sum, word) in sum.iter_mut().zip(row) {
        *sum = sum.wrapping_add(word);
    }
}
