//! Tests, tables with named rows.

use std::collections::BTreeMap;
use std::thread;

use gateway_common::abi::{self, map};
use gateway_common::counters::{RequestCounters, Volume};
use gateway_common::hook::Hook;
use gateway_common::path::PathSlot;
use gateway_common::reasons::ReasonCounters;
use gateway_common::verdict::{PacketVerdict, RequestVerdict};

use super::*;
use crate::sys::mmap::Mapping;

/// Two workers, two paths and a listener.
fn regions() -> Regions {
    let regions = Regions::anonymous(2).unwrap();
    let paths = ["PathPrefix /productpage".to_owned(), "Exact /".to_owned()];
    PathSlots::new(regions.clone()).assign(&paths);
    ListenerSlots::new(regions.clone()).assign(&["default/gateway/http".to_owned()]);
    regions
}

/// Counts a packet as the kernel half does.
fn packet(regions: &Regions, hook: Hook, listener: u32, verdict: PacketVerdict, bytes: u64) {
    use std::sync::atomic::Ordering::Relaxed;

    use gateway_common::counters::PacketCounters;
    let row = regions.packet_row(0, hook, listener);
    for (word, amount) in [(0, 1), (1, bytes)] {
        row[word].fetch_add(amount, Relaxed);
        row[PacketCounters::word(verdict) + word].fetch_add(amount, Relaxed);
    }
}

#[test]
fn every_verdict_has_a_word_of_its_own_and_the_sum_holds() {
    let regions = regions();
    let worker = regions.worker(1).unwrap();
    for (count, verdict) in (1..).zip(RequestVerdict::ALL) {
        for _ in 0..count {
            worker.record(PathSlot(2), verdict, 10, 100);
        }
    }
    let totals = Totals::read(&regions);
    let row = &totals.paths[2].requests;
    for (count, verdict) in (1..).zip(RequestVerdict::ALL) {
        assert_eq!(row.verdict(verdict), count, "{}", verdict.name());
    }
    assert_eq!(row.requests, 55);
    assert_eq!((row.request_bytes, row.response_bytes), (550, 5500));
    assert_eq!(totals.paths[1].requests, RequestCounters::default());
    assert_eq!(totals.requests(), *row);
}

#[test]
fn workers_add_up_and_connections_count_under_no_path() {
    let regions = regions();
    let threads = [0, 1].map(|number| {
        let worker = regions.worker(number).unwrap();
        thread::spawn(move || {
            for _ in 0..1000 {
                worker.connection_accepted();
                worker.record(PathSlot(1), RequestVerdict::Allowed, 1, 2);
                worker.connection_served();
            }
            worker.connection_accepted();
            worker.connection_refused();
            worker.connection_accepted();
            worker.handshake_failed();
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
    let totals = Totals::read(&regions);
    assert_eq!(totals.paths[1].requests.allowed, 2000);
    let none = &totals.paths[0].requests;
    assert_eq!((none.connections, none.connections_served), (2004, 2000));
    assert_eq!((none.connections_refused, none.handshakes_failed), (2, 2));
    assert_eq!(none.requests, 0);
}

#[test]
fn a_slot_out_of_range_counts_under_no_path() {
    let regions = regions();
    let worker = regions.worker(0).unwrap();
    worker.record(PathSlot(abi::MAX_PATHS), RequestVerdict::Denied, 0, 0);
    assert_eq!(Totals::read(&regions).paths[0].requests.denied, 1);
    assert!(regions.worker(2).is_none());
}

#[test]
fn a_reused_slot_begins_at_zero() {
    let regions = Regions::anonymous(1).unwrap();
    let names: Vec<String> = (1..abi::MAX_PATHS).map(|n| format!("Exact /{n}")).collect();
    let mut slots = PathSlots::new(regions.clone());
    assert_eq!(slots.assign(&names).unplaced, 0);
    regions.worker(0).unwrap().record(PathSlot(7), RequestVerdict::Allowed, 1, 1);
    // All are taken; the seventh leaves and another comes.
    let mut others = names.clone();
    others[6] = "Exact /new".to_owned();
    let assignment = slots.assign(&others);
    assert_eq!(assignment.slots[6], PathSlot(7));
    let row = &Totals::read(&regions).paths[7];
    assert_eq!((row.name.as_str(), row.requests.requests), ("Exact /new", 0));
    let one_more = [others, vec!["Exact /too-many".to_owned()]].concat();
    let assignment = slots.assign(&one_more);
    assert_eq!((assignment.unplaced, *assignment.slots.last().unwrap()), (1, PathSlot::NONE));
}

#[test]
fn arrays_of_another_size_are_refused() {
    let open = |short: &'static str| {
        Regions::open(|name| {
            let words = match name {
                map::REQUEST_COUNTERS => RequestCounters::WORDS * abi::MAX_PATHS as usize,
                map::PACKET_COUNTERS => 24 * 192,
                map::WIRE_COUNTERS => 4 * abi::MAX_PATHS as usize,
                map::REASON_COUNTERS => 48 * abi::MAX_WORKERS as usize,
                map::PATH_NAMES => 31 * abi::MAX_PATHS as usize,
                _ => 16 * 64,
            };
            let words = if name == short { words - 1 } else { words };
            Mapping::anonymous(words).map_err(RegionError::Memory)
        })
    };
    assert!(open("none").is_ok());
    let names = [
        map::REQUEST_COUNTERS,
        map::PACKET_COUNTERS,
        map::WIRE_COUNTERS,
        map::REASON_COUNTERS,
        map::PATH_NAMES,
        map::LISTENER_NAMES,
    ];
    for name in names {
        let error = open(name).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("unload"), "{error}");
    }
}

/// Totals with a bit of everything.
fn some_totals() -> Totals {
    let regions = regions();
    let worker = regions.worker(0).unwrap();
    worker.connection_accepted();
    worker.record(PathSlot(1), RequestVerdict::Allowed, 0, 4294);
    worker.record(PathSlot(1), RequestVerdict::Denied, 0, 19);
    worker.refused(ReasonCounters::word("policy_denied").unwrap());
    worker.record(PathSlot(0), RequestVerdict::NotFound, 5, 0);
    packet(&regions, Hook::TcIngress, 1, PacketVerdict::Steered, 74);
    packet(&regions, Hook::TcIngress, 1, PacketVerdict::Established, 66);
    packet(&regions, Hook::TcIngress, 0, PacketVerdict::Other, 60);
    Totals::read(&regions)
}

#[test]
fn the_table_shows_what_was_counted() {
    let expected = "\
path                     requests  allowed  denied  not_found  request_bytes  response_bytes  wire_bytes
(no path)                       1        0       0          1              5               0           0
PathPrefix /productpage         2        1       1          0              0            4313           0
Exact /                         0        0       0          0              0               0           0
total                           3        1       1          1              5            4313           0

connections  accepted  refused  handshake_failed  served  open
                    1        0                 0       0     1

hook        listener              packets  bytes  other  steered  established
tc_ingress  (no listener)               1     60      1        0            0
tc_ingress  default/gateway/http        2    140      0        1            1
";
    assert_eq!(table(&some_totals()), expected);
}

#[test]
fn the_json_has_every_field() {
    let value: serde_json::Value = serde_json::from_str(&json(&some_totals())).unwrap();
    let path = &value["paths"][1];
    assert_eq!(path["path"], "PathPrefix /productpage");
    assert_eq!(path["slot"], 1);
    assert_eq!(path["requests"], 2);
    assert_eq!(path["response_bytes"], 4313);
    let verdicts: BTreeMap<String, u64> = serde_json::from_value(path["verdicts"].clone()).unwrap();
    assert_eq!(verdicts.len(), RequestVerdict::ALL.len());
    assert_eq!(verdicts.values().sum::<u64>(), 2);
    assert_eq!(value["connections"]["accepted"], 1);
    assert_eq!(value["refusals"]["policy_denied"], 1);
    assert_eq!(value["refusals"]["token_expired"], 0);
    let rows = value["listeners"].as_array().unwrap();
    let row = rows.iter().find(|r| r["hook"] == "tc_ingress" && r["slot"] == 1).unwrap();
    assert_eq!(row["listener"], "default/gateway/http");
    let verdicts: BTreeMap<String, BTreeMap<String, u64>> =
        serde_json::from_value(row["verdicts"].clone()).unwrap();
    assert_eq!(verdicts.len(), PacketVerdict::ALL.len());
    let packets: u64 = verdicts.values().map(|volume| volume["packets"]).sum();
    assert_eq!(row["seen"]["packets"], packets);
}

#[test]
fn packet_rows_are_read_by_name() {
    let totals = some_totals();
    let row = totals.listeners.iter().find(|r| r.hook == Hook::TcIngress && r.slot == 1).unwrap();
    assert_eq!(row.packets.seen, Volume { packets: 2, bytes: 140 });
    assert_eq!(row.packets.steered, Volume { packets: 1, bytes: 74 });
    assert_eq!(row.packets.established, Volume { packets: 1, bytes: 66 });
    assert_eq!(row.packets.verdict(PacketVerdict::Passed), Volume::default());
}
