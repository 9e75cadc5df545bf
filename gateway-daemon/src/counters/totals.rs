//! Totals: every counter, summed over CPUs and workers, with names. One reading for all observers.

use gateway_common::abi;
use gateway_common::counters::{PacketCounters, RequestCounters, WireCounters};
use gateway_common::hook::Hook;
use gateway_common::path::PathSlot;
use gateway_common::reasons::ReasonCounters;

use super::kernel;
use super::regions::{Regions, read};
use super::slots::read_name;

/// Every counter at (about) one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Paths that have a name or a count, by slot. The first is *no path*, with the connections.
    pub paths: Vec<PathTotals>,
    /// (hook, listener) pairs with a name or a count, by hook, then slot. Slot 0 is *no listener*.
    pub listeners: Vec<ListenerTotals>,
    /// Refusals by reason word; every reason, also those without a count.
    pub reasons: Vec<(&'static str, u64)>,
}

/// What was answered for one path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PathTotals {
    /// Its slot.
    pub slot: PathSlot,
    /// The configured pattern; empty for slot 0.
    pub name: String,
    /// Requests and body bytes, exact.
    pub requests: RequestCounters,
    /// Packets and bytes that left for it, approximate.
    pub wire: WireCounters,
}

/// What was seen for one listener at one hook.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListenerTotals {
    /// The hook.
    pub hook: Hook,
    /// Its slot.
    pub slot: u32,
    /// The configured listener; empty for slot 0.
    pub name: String,
    /// Packets and bytes by verdict.
    pub packets: PacketCounters,
}

impl Totals {
    /// Reads and sums the counters.
    pub fn read(regions: &Regions) -> Self {
        let paths = (0..abi::MAX_PATHS).filter_map(|slot| path(regions, PathSlot(slot))).collect();
        let listeners = Hook::ALL
            .into_iter()
            .flat_map(|hook| (0..abi::MAX_LISTENERS).map(move |slot| (hook, slot)))
            .filter_map(|(hook, slot)| listener(regions, hook, slot))
            .collect();
        Self { paths, listeners, reasons: reasons(regions) }
    }

    /// Requests of every path together, with the connections.
    pub fn requests(&self) -> RequestCounters {
        let mut sum = RequestCounters::default();
        for path in &self.paths {
            let row = &path.requests;
            sum.requests += row.requests;
            sum.allowed += row.allowed;
            sum.unauthenticated += row.unauthenticated;
            sum.denied += row.denied;
            sum.not_found += row.not_found;
            sum.bad_request += row.bad_request;
            sum.limited += row.limited;
            sum.upstream_error += row.upstream_error;
            sum.upstream_timeout += row.upstream_timeout;
            sum.no_backend += row.no_backend;
            sum.aborted += row.aborted;
            sum.request_bytes += row.request_bytes;
            sum.response_bytes += row.response_bytes;
            sum.connections += row.connections;
            sum.connections_refused += row.connections_refused;
            sum.handshakes_failed += row.handshakes_failed;
            sum.connections_served += row.connections_served;
            sum.connections_open += row.connections_open;
            sum.connections_lost += row.connections_lost;
        }
        sum
    }
}

/// A path's totals; none for a slot that was never used. Slot 0 is always there.
fn path(regions: &Regions, slot: PathSlot) -> Option<PathTotals> {
    let name = read_name(regions.path_name(slot.0));
    if name.is_none() && slot != PathSlot::NONE {
        return None;
    }
    let mut sum = [0; RequestCounters::WORDS];
    for worker in 0..regions.workers() {
        kernel::add(&mut sum, read(regions.request_row(slot, worker)));
    }
    let requests = RequestCounters::from_words(sum);
    let wire = kernel::wire(regions, slot);
    Some(PathTotals { slot, name: name.unwrap_or_default(), requests, wire })
}

fn reasons(regions: &Regions) -> Vec<(&'static str, u64)> {
    let mut sum = [0; ReasonCounters::WORDS];
    for worker in 0..abi::MAX_WORKERS {
        kernel::add(&mut sum, read(regions.reason_row(worker)));
    }
    ReasonCounters::NAMES.iter().copied().zip(sum).collect()
}

fn listener(regions: &Regions, hook: Hook, slot: u32) -> Option<ListenerTotals> {
    let name = read_name(regions.listener_name(slot));
    let packets = kernel::packets(regions, hook, slot);
    if name.is_none() && slot != 0 && packets.seen.packets == 0 {
        return None;
    }
    Some(ListenerTotals { hook, slot, name: name.unwrap_or_default(), packets })
}
