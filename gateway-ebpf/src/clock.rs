//! The time, read once per tick and CPU: a reading costs as much as looking up a ban, and a flood
//! would pay for it with every packet.

use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_jiffies64, bpf_ktime_get_boot_ns};

use crate::maps::CPU_STATE;

/// Nanoseconds since boot, suspended time included; up to a tick of the kernel's clock old.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: takes nothing.
    let (cpu, ticks) = unsafe { (bpf_get_smp_processor_id(), bpf_jiffies64()) };
    let Some(row) = CPU_STATE.get_ptr_mut(cpu) else {
        // SAFETY: takes nothing.
        return unsafe { bpf_ktime_get_boot_ns() };
    };
    // SAFETY: `row` is this CPU's, which nobody else writes now.
    unsafe {
        if (*row).ticks != ticks {
            (*row).ticks = ticks;
            (*row).now = bpf_ktime_get_boot_ns();
        }
        (*row).now
    }
}
