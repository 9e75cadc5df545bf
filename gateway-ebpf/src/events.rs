//! Rare events, told through a ring buffer. If it is full, nobody listens, and the event is only
//! counted.

use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_ringbuf_output};
use gateway_common::budget::{Event, EventKind};
use gateway_common::steering::Family;

use crate::maps::{CPU_STATE, EVENTS};

/// Tells of an event.
#[inline(always)]
pub(crate) fn tell(kind: EventKind, family: Family, source: [u8; 16], now: u64) {
    let event = Event { at: now, kind: kind as u32, family: family.number().into(), source };
    let map = (&raw const EVENTS).cast_mut().cast();
    // SAFETY: the map is a ring buffer, and `event` has that many bytes, none of them padding.
    let told = unsafe {
        bpf_ringbuf_output(map, (&raw const event).cast_mut().cast(), Event::BYTES as u64, 0)
    };
    if told != 0 {
        count_lost();
    }
}

fn count_lost() {
    // SAFETY: takes nothing.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if let Some(row) = CPU_STATE.get_ptr_mut(cpu) {
        // SAFETY: the row is this CPU's, which nobody else writes now.
        unsafe { (*row).events_lost += 1 };
    }
}
