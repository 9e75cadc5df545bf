//! Counters: packets per (hook, listener), requests per path, refusals per reason,
//! wire bytes per path.
//!
//! They live in memory that the kernel half and `bpftool` share (BPF arrays, mapped), or in
//! anonymous memory of the same form with `--datapath off`. Nothing here makes a system call to
//! count or to read. `docs/counters.md` explains every field.
//!
//! - [`Regions`]: the six mapped arrays. Cheap to clone.
//! - [`Memory`]: anonymous files to map, for `--datapath off`.
//! - [`WorkerCounters`]: a worker's writing end, one per worker.
//! - [`FlowPaths`]: what every connection answers, for TC egress to count by.
//! - [`PathSlots`], [`ListenerSlots`]: which name has which row; the control thread's.
//! - [`Totals`]: sums over CPUs and workers, for observers.
//!
//! Must not know: aya, HTTP, configuration. Who has the maps' file descriptors (`bpf`) maps them.

mod audit;
mod daemon;
mod flows;
mod gauge;
mod kernel;
mod memory;
mod regions;
mod render;
mod slots;
mod totals;

pub use audit::{Audit, Fault, MAX_WRITERS, Sum, audit};
pub use daemon::{ConnectionEnd, WorkerCounters};
pub use flows::{Flow, FlowPaths};
pub use gauge::{Gauge, Place};
pub use memory::Memory;
pub use regions::{ARRAYS, RegionError, Regions};
pub use render::{Grid, json, table};
pub use slots::{Assignment, ListenerSlot, ListenerSlots, PathSlots};
pub use totals::{ListenerTotals, PathTotals, Totals};

#[cfg(test)]
mod tests;
