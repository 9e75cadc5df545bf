//! Counting: adds to this CPU's rows. All map pointers to counters are here.
//!
//! Programs run with bottom halves off, so that a row has one writer at a time and needs no atomic
//! add.

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use gateway_common::abi;
use gateway_common::counters::{PacketCounters, Volume, packet_row, wire_row};
use gateway_common::flow::FlowPath;
use gateway_common::hook::Hook;
use gateway_common::verdict::PacketVerdict;
use gateway_ebpf::classify::wire_bytes;
use gateway_ebpf::parse::{Headers, Segment};

use crate::maps::{FLOW_PATHS, PACKET_COUNTERS, WIRE_COUNTERS};

/// What is to be counted for one packet. Every program ends in [`Count::verdict`].
pub(crate) struct Count {
    hook: Hook,
    /// The listener it belongs to; 0 for none.
    pub(crate) listener: u32,
    packets: u64,
    bytes: u64,
}

impl Count {
    #[inline(always)]
    pub(crate) fn new(hook: Hook, bytes: u64) -> Self {
        Self { hook, listener: 0, packets: 1, bytes }
    }

    /// Counts a batch as the packets that it stands for.
    #[inline(always)]
    pub(crate) fn segments(&mut self, segments: u64, headers: &Headers) {
        self.packets = segments;
        self.bytes = wire_bytes(self.bytes, segments, headers.payload as u64);
    }

    /// Counts for the path that a segment's connection answers, if that is known.
    #[inline(always)]
    pub(crate) fn path(&self, leaving: &Segment) {
        let Headers { source_port, destination_port, .. } = leaving.headers;
        let flow =
            FlowPath::of((leaving.destination, destination_port), (leaving.source, source_port));
        let Some(word) = FLOW_PATHS.get_ptr(flow.row) else { return };
        // SAFETY: within the map; the daemon writes whole words.
        let Some((path, permitted)) = flow.read(unsafe { word.read_volatile() }) else { return };
        let Some(row) = WIRE_COUNTERS.get_ptr_mut(wire_row(path, cpu())) else { return };
        // SAFETY: `row` is a row of this CPU, which nobody else writes now.
        unsafe {
            self.add(if permitted { &raw mut (*row).allowed } else { &raw mut (*row).refused });
        }
    }

    /// Counts the verdict, and the packet as seen.
    #[inline(always)]
    pub(crate) fn verdict(self, verdict: PacketVerdict) {
        let listener = if self.listener < abi::MAX_LISTENERS { self.listener } else { 0 };
        let row = packet_row(cpu(), self.hook, listener);
        let Some(row) = PACKET_COUNTERS.get_ptr_mut(row) else { return };
        // The mask tells the verifier what the type says: fewer volumes than a row has room for.
        let volume = (PacketCounters::word(verdict) / 2) & 0xf;
        // SAFETY: as in `path`. The row begins with `seen` and the verdicts' volumes, fewer than
        // the sixteen that it has room for (asserted in gateway_common::layout).
        unsafe {
            let volumes: *mut Volume = row.cast();
            self.add(volumes);
            if volume < size_of::<PacketCounters>() / size_of::<Volume>() {
                self.add(volumes.add(volume));
            }
        }
    }

    /// # Safety
    ///
    /// `volume` must be valid, and written by nobody else now.
    #[inline(always)]
    unsafe fn add(&self, volume: *mut Volume) {
        // SAFETY: by contract.
        unsafe {
            (*volume).packets += self.packets;
            (*volume).bytes += self.bytes;
        }
    }
}

#[inline(always)]
fn cpu() -> u32 {
    // SAFETY: takes nothing.
    unsafe { bpf_get_smp_processor_id() }
}
