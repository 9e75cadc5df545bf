//! Whether the ledger balances: every sum of `docs/counters.md`, row by row, also on a live node.
//!
//! A row has one writer, or a few while a daemon takes over from another one, each of which adds to
//! a total first and to its part right after. So a row is read until two readings in turn agree and
//! its sums hold; a writer needs nanoseconds for the rest, and a row that never balances is wrong. Reasons and requests stand in different rows, so those are
//! read as reasons, requests, reasons: what was refused lies between the two, and where nothing
//! was refused meanwhile all three agree.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

use gateway_common::abi::{self, map};
use gateway_common::counters::{PacketCounters, RequestCounters, packet_row, request_row};
use gateway_common::hook::Hook;
use gateway_common::path::PathSlot;
use gateway_common::reasons::ReasonCounters;
use gateway_common::verdict::{PacketVerdict, RequestVerdict};
use serde_json::{Value, json};

use super::Regions;
use super::regions::read;
use super::slots::read_name;

const PACKETS: &str = "packets seen = sum of verdicts";
const BYTES: &str = "bytes seen = sum of verdicts";
const REQUESTS: &str = "requests = sum of verdicts";
const CONNECTIONS: &str = "connections = refused + handshakes failed + served + lost + open";
const REASONS: &str = "refusals by reason = requests - allowed + retired";

/// Readings of rows that do not balance, over the whole audit, before the rest is read only once
/// more: enough for a writer that was interrupted in the middle.
const PATIENCE: u32 = 1_000;
/// Pause between two of them.
const PAUSE: Duration = Duration::from_millis(1);
/// Readings of a worker's reasons and requests while it goes on refusing.
const QUIET: u32 = 250;
/// Daemons that may write a worker's rows at a time: one, and those that it relieved and that still
/// drain. Each may have one request half entered.
pub const MAX_WRITERS: u32 = 4;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// Every sum, over all rows.
    pub sums: Vec<Sum>,
    /// The rows that do not balance.
    pub faults: Vec<Fault>,
}

/// A sum over all of its rows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sum {
    /// The equation.
    pub name: &'static str,
    /// Rows that were read.
    pub rows: u64,
    /// Left side, all rows together.
    pub left: u64,
    /// Right side.
    pub right: u64,
}

/// A row whose sum does not hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// The equation.
    pub sum: &'static str,
    /// Map, row, and what the row stands for.
    pub row: String,
    /// Left side.
    pub left: u64,
    /// Right side.
    pub right: u64,
}

impl Audit {
    /// Whether every sum holds.
    pub fn holds(&self) -> bool {
        self.faults.is_empty()
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let sum = |sum: &Sum| json!({"sum": sum.name, "rows": sum.rows, "left": sum.left, "right": sum.right});
        let fault = |fault: &Fault| json!({"sum": fault.sum, "row": fault.row, "left": fault.left, "right": fault.right});
        json!({
            "holds": self.holds(),
            "sums": self.sums.iter().map(sum).collect::<Vec<_>>(),
            "faults": self.faults.iter().map(fault).collect::<Vec<_>>(),
        })
    }

    fn compare(&mut self, name: &'static str, left: u64, right: u64, row: impl FnOnce() -> String) {
        self.enter(name, left, right);
        if left != right {
            self.faults.push(Fault { sum: name, row: row(), left, right });
        }
    }

    fn enter(&mut self, name: &'static str, left: u64, right: u64) {
        if self.sums.iter().all(|sum| sum.name != name) {
            self.sums.push(Sum { name, rows: 0, left: 0, right: 0 });
        }
        for sum in self.sums.iter_mut().filter(|sum| sum.name == name) {
            sum.rows += 1;
            sum.left = sum.left.wrapping_add(left);
            sum.right = sum.right.wrapping_add(right);
        }
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Sum { name, rows, left, right } in &self.sums {
            let good = self.faults.iter().all(|fault| fault.sum != *name);
            let word = if good { "holds" } else { "does not hold" };
            writeln!(f, "{word}: {name}: {left} and {right} in {rows} rows")?;
        }
        for Fault { sum, row, left, right } in &self.faults {
            writeln!(f, "fault: {row}: {sum}: {left} is not {right}")?;
        }
        Ok(())
    }
}

/// Reads every row and checks its sums.
pub fn audit(regions: &Regions) -> Audit {
    let mut audit = Audit::default();
    let mut patience = PATIENCE;
    for hook in Hook::ALL {
        for listener in 0..abi::MAX_LISTENERS {
            for cpu in 0..regions.cpus() {
                packets(&mut audit, regions, &mut patience, (cpu, hook, listener));
            }
        }
    }
    for worker in 0..regions.workers() {
        for slot in 0..abi::MAX_PATHS {
            requests(&mut audit, regions, &mut patience, worker, PathSlot(slot));
        }
        reasons(&mut audit, regions, &mut patience, worker);
    }
    audit
}

fn packets(
    audit: &mut Audit,
    regions: &Regions,
    patience: &mut u32,
    (cpu, hook, listener): (u32, Hook, u32),
) {
    let sums = |row: &PacketCounters| {
        PacketVerdict::ALL.into_iter().fold((0_u64, 0_u64), |(packets, bytes), verdict| {
            let volume = row.verdict(verdict);
            (packets.wrapping_add(volume.packets), bytes.wrapping_add(volume.bytes))
        })
    };
    let words = settled(regions.packet_row(cpu, hook, listener), patience, |words| {
        let row = PacketCounters::from_words(*words);
        (row.seen.packets, row.seen.bytes) == sums(&row)
    });
    let row = PacketCounters::from_words(words);
    let (packets, bytes) = sums(&row);
    let name = || {
        let number = packet_row(cpu, hook, listener);
        let name = read_name(regions.listener_name(listener));
        let name = name.unwrap_or_else(|| "no listener".to_owned());
        format!("{} row {number} (CPU {cpu}, {}, {name})", map::PACKET_COUNTERS, hook.name())
    };
    audit.compare(PACKETS, row.seen.packets, packets, name);
    audit.compare(BYTES, row.seen.bytes, bytes, name);
}

fn requests(audit: &mut Audit, regions: &Regions, patience: &mut u32, worker: u32, slot: PathSlot) {
    let row = settled_requests(regions, patience, worker, slot);
    let name = || {
        let number = request_row(slot, worker);
        let name = read_name(regions.path_name(slot.0));
        let name = name.unwrap_or_else(|| "no path".to_owned());
        format!("{} row {number} (worker {worker}, {name})", map::REQUEST_COUNTERS)
    };
    audit.compare(REQUESTS, row.requests, verdicts(&row), name);
    audit.compare(CONNECTIONS, row.connections, connections(&row), name);
}

fn settled_requests(
    regions: &Regions,
    patience: &mut u32,
    worker: u32,
    slot: PathSlot,
) -> RequestCounters {
    let words = settled(regions.request_row(slot, worker), patience, |words| {
        let row = RequestCounters::from_words(*words);
        row.requests == verdicts(&row) && row.connections == connections(&row)
    });
    RequestCounters::from_words(words)
}

fn verdicts(row: &RequestCounters) -> u64 {
    RequestVerdict::ALL.iter().fold(0, |sum, &verdict| sum.wrapping_add(row.verdict(verdict)))
}

fn connections(row: &RequestCounters) -> u64 {
    [
        row.connections_refused,
        row.handshakes_failed,
        row.connections_served,
        row.connections_lost,
        row.connections_open,
    ]
    .into_iter()
    .fold(0, u64::wrapping_add)
}

/// A request is entered in its row first and under its reason right after, by one thread.
fn reasons(audit: &mut Audit, regions: &Regions, patience: &mut u32, worker: u32) {
    let by_reason = || {
        let words: [u64; ReasonCounters::WORDS] = read(regions.reason_row(worker));
        let (reasons, retired) = words.split_at(ReasonCounters::RETIRED);
        (reasons.iter().fold(0, |sum: u64, &count| sum.wrapping_add(count)), retired[0])
    };
    let mut used = Vec::new();
    for reading in 0..QUIET {
        if reading % 50 == 0 {
            used = (0..abi::MAX_PATHS)
                .map(PathSlot)
                .filter(|&slot| {
                    let row: [u64; RequestCounters::WORDS] =
                        read(regions.request_row(slot, worker));
                    row[0] > 0
                })
                .collect();
        }
        let (before, _) = by_reason();
        let refused = used.iter().fold(0_u64, |sum, &slot| {
            sum.wrapping_add(settled_requests(regions, patience, worker, slot).refused())
        });
        let (after, retired) = by_reason();
        let refused = refused.wrapping_add(retired);
        let last = reading + 1 == QUIET;
        let quiet = before == after && refused == after;
        // A worker that never stops refusing; requests may be half entered.
        let most = after.saturating_add(MAX_WRITERS.into());
        let busy = last && before != after && (before..=most).contains(&refused);
        if quiet || busy {
            return audit.enter(REASONS, refused, refused);
        }
        if last {
            let name = || format!("{} row {worker} (worker {worker})", map::REASON_COUNTERS);
            audit.compare(REASONS, after, refused, name);
        } else if before == after {
            thread::sleep(PAUSE);
        }
    }
}

/// Reads a row until two readings in turn agree and the row balances, as long as patience lasts.
fn settled<const WORDS: usize>(
    row: &[AtomicU64],
    patience: &mut u32,
    balances: impl Fn(&[u64; WORDS]) -> bool,
) -> [u64; WORDS] {
    let mut last = read(row);
    loop {
        let next = read(row);
        if next == last {
            if balances(&next) || *patience == 0 {
                return next;
            }
            *patience -= 1;
            thread::sleep(PAUSE);
        }
        last = next;
    }
}
