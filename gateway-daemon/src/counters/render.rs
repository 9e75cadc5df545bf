//! `gateway-daemon stats`: the totals as a table for people, or as JSON for scripts.

use gateway_common::counters::{RequestCounters, Volume};
use gateway_common::path::PathSlot;
use gateway_common::verdict::{PacketVerdict, RequestVerdict};
use serde_json::{Map, Value, json};

use super::{ListenerTotals, PathTotals, Totals};

/// What slot 0 is called in tables: requests that no configured path matches.
const NO_PATH: &str = "(no path)";
/// What slot 0 is called in tables: packets that are no listener's.
const NO_LISTENER: &str = "(no listener)";

/// The totals as aligned text: requests per path, connections, packets per hook and listener.
/// Rows and verdicts without a count are left out.
pub fn table(totals: &Totals) -> String {
    let mut out = String::new();
    requests(&mut out, totals);
    connections(&mut out, &totals.requests());
    packets(&mut out, &totals.listeners);
    out
}

fn requests(out: &mut String, totals: &Totals) {
    let sum = totals.requests();
    let verdicts: Vec<RequestVerdict> =
        RequestVerdict::ALL.into_iter().filter(|&verdict| sum.verdict(verdict) > 0).collect();
    let mut grid = Grid::new(&["path", "requests"]);
    grid.head.extend(verdicts.iter().map(|verdict| verdict.name().to_owned()));
    grid.head.extend(["request_bytes", "response_bytes", "wire_bytes"].map(str::to_owned));
    for path in &totals.paths {
        let row = &path.requests;
        if row.requests == 0 && path.slot == PathSlot::NONE {
            continue;
        }
        let name = if path.slot == PathSlot::NONE { NO_PATH } else { &path.name };
        let mut cells = vec![name.to_owned(), row.requests.to_string()];
        cells.extend(verdicts.iter().map(|&verdict| row.verdict(verdict).to_string()));
        let wire = path.wire.allowed.bytes + path.wire.refused.bytes;
        cells.extend([row.request_bytes, row.response_bytes, wire].map(|n| n.to_string()));
        grid.rows.push(cells);
    }
    let mut last = vec!["total".to_owned(), sum.requests.to_string()];
    last.extend(verdicts.iter().map(|&verdict| sum.verdict(verdict).to_string()));
    let wire: u64 = totals.paths.iter().map(|p| p.wire.allowed.bytes + p.wire.refused.bytes).sum();
    last.extend([sum.request_bytes, sum.response_bytes, wire].map(|n| n.to_string()));
    grid.rows.push(last);
    grid.write(out);
}

fn connections(out: &mut String, sum: &RequestCounters) {
    let mut columns = vec![
        ("accepted", sum.connections),
        ("refused", sum.connections_refused),
        ("handshake_failed", sum.handshakes_failed),
        ("served", sum.connections_served),
    ];
    if sum.connections_lost > 0 {
        columns.push(("lost", sum.connections_lost));
    }
    columns.push(("open", sum.connections_open));
    let mut grid = Grid::new(&["connections"]);
    grid.head.extend(columns.iter().map(|(name, _)| (*name).to_owned()));
    let mut cells = vec![String::new()];
    cells.extend(columns.iter().map(|(_, count)| count.to_string()));
    grid.rows.push(cells);
    grid.write(out);
}

fn packets(out: &mut String, listeners: &[ListenerTotals]) {
    let used: Vec<PacketVerdict> = PacketVerdict::ALL
        .into_iter()
        .filter(|&verdict| listeners.iter().any(|l| l.packets.verdict(verdict).packets > 0))
        .collect();
    let mut grid = Grid::new(&["hook", "listener", "packets", "bytes"]);
    grid.head.extend(used.iter().map(|verdict| verdict.name().to_owned()));
    for listener in listeners.iter().filter(|listener| listener.packets.seen.packets > 0) {
        let name = if listener.slot == 0 { NO_LISTENER } else { &listener.name };
        let Volume { packets, bytes } = listener.packets.seen;
        let mut cells = vec![listener.hook.name().to_owned(), name.to_owned()];
        cells.extend([packets, bytes].map(|n| n.to_string()));
        cells.extend(used.iter().map(|&v| listener.packets.verdict(v).packets.to_string()));
        grid.rows.push(cells);
    }
    if !grid.rows.is_empty() {
        grid.write(out);
    }
}

/// Cells, aligned by column: the first left, numbers right.
#[derive(Debug)]
pub struct Grid {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// With these column names.
    pub fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|&word| word.to_owned()).collect(), rows: Vec::new() }
    }

    /// Adds a line.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Writes it below what is there.
    pub fn write(&self, out: &mut String) {
        let lines = || std::iter::once(&self.head).chain(&self.rows);
        let width = |column: usize| {
            lines().filter_map(|l| l.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> =
            (0..self.head.len()).map(|column| width(column).unwrap_or(0)).collect();
        let number = |column: usize| {
            self.rows.iter().all(|r| r.get(column).is_some_and(|c| c.parse::<u64>().is_ok()))
        };
        let numbers: Vec<bool> = (0..self.head.len()).map(number).collect();
        if !out.is_empty() {
            out.push('\n');
        }
        for line in lines() {
            let cells = line.iter().zip(&widths).zip(&numbers).map(|((cell, &width), &number)| {
                if number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            let text = cells.collect::<Vec<_>>().join("  ");
            out.push_str(text.trim_end());
            out.push('\n');
        }
    }
}

/// The totals as JSON, every field of every row that was ever used.
///
/// ```json
/// {"paths": [{"slot": 1, "path": "PathPrefix /", "requests": 1, "verdicts": {"allowed": 1, ...},
///             "request_bytes": 0, "response_bytes": 4294,
///             "wire": {"allowed": {"packets": 4, "bytes": 4702}, "refused": {...}}}],
///  "connections": {"accepted": 1, "refused": 0, "handshake_failed": 0, "served": 1, "lost": 0,
///                  "open": 0},
///  "listeners": [{"hook": "xdp", "slot": 1, "listener": "default/quickstart/http",
///                 "seen": {"packets": 10, "bytes": 900}, "verdicts": {"passed": {...}, ...}}]}
/// ```
pub fn json(totals: &Totals) -> Value {
    let sum = totals.requests();
    json!({
        "paths": totals.paths.iter().map(path).collect::<Vec<_>>(),
        "connections": {
            "accepted": sum.connections,
            "refused": sum.connections_refused,
            "handshake_failed": sum.handshakes_failed,
            "served": sum.connections_served,
            "lost": sum.connections_lost,
            "open": sum.connections_open,
        },
        "listeners": totals.listeners.iter().map(listener).collect::<Vec<_>>(),
        "refusals": totals
            .reasons
            .iter()
            .map(|(reason, count)| ((*reason).to_owned(), Value::from(*count)))
            .collect::<Map<_, _>>(),
    })
}

fn path(path: &PathTotals) -> Value {
    let row = &path.requests;
    let verdicts: Map<String, Value> = RequestVerdict::ALL
        .map(|v| (v.name().to_owned(), row.verdict(v).into()))
        .into_iter()
        .collect();
    json!({
        "slot": path.slot.0,
        "path": path.name,
        "requests": row.requests,
        "verdicts": verdicts,
        "request_bytes": row.request_bytes,
        "response_bytes": row.response_bytes,
        "wire": { "allowed": volume(path.wire.allowed), "refused": volume(path.wire.refused) },
    })
}

fn listener(listener: &ListenerTotals) -> Value {
    let row = &listener.packets;
    let verdicts: Map<String, Value> = PacketVerdict::ALL
        .map(|v| (v.name().to_owned(), volume(row.verdict(v))))
        .into_iter()
        .collect();
    json!({
        "hook": listener.hook.name(),
        "slot": listener.slot,
        "listener": listener.name,
        "seen": volume(row.seen),
        "verdicts": verdicts,
    })
}

fn volume(volume: Volume) -> Value {
    json!({ "packets": volume.packets, "bytes": volume.bytes })
}
