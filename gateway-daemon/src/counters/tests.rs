//! Tests, tables with named rows.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::thread;

use gateway_common::abi::{self, map};
use gateway_common::counters::{RequestCounters, Volume};
use gateway_common::hook::Hook;
use gateway_common::path::PathSlot;
use gateway_common::reasons::ReasonCounters;
use gateway_common::verdict::{PacketVerdict, RequestVerdict};

use super::*;
use crate::sys::mmap::{Mapping, memory_file};

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
                worker.connection_closed(ConnectionEnd::Served);
            }
            worker.connection_accepted();
            worker.connection_closed(ConnectionEnd::Refused);
            worker.connection_accepted();
            worker.connection_closed(ConnectionEnd::HandshakeFailed);
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
                map::PACKET_COUNTERS => 32 * 192,
                map::WIRE_COUNTERS => 4 * abi::MAX_PATHS as usize,
                map::REASON_COUNTERS => 48 * abi::MAX_WORKERS as usize,
                map::PATH_NAMES => 31 * abi::MAX_PATHS as usize,
                _ => 16 * 64,
            };
            let words = if name == short { words - 1 } else { words };
            let file = memory_file("test", words).map_err(RegionError::Memory)?;
            Mapping::of_file(file.as_fd(), words).map_err(RegionError::Memory)
        })
    };
    assert!(open("none").is_ok());
    for name in ARRAYS {
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
    let value = json(&some_totals());
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

#[test]
fn a_ledger_that_balances_is_told_from_one_that_does_not() {
    use std::sync::atomic::Ordering::Relaxed;

    let regions = regions();
    let worker = regions.worker(1).unwrap();
    worker.connection_accepted();
    for verdict in [RequestVerdict::Allowed, RequestVerdict::Denied] {
        worker.record(PathSlot(1), verdict, 1, 2);
    }
    worker.refused(0);
    packet(&regions, Hook::TcIngress, 1, PacketVerdict::Steered, 60);
    let good = audit(&regions);
    assert!(good.holds(), "{good}");
    let text = good.to_string();
    assert!(text.contains("holds: requests = sum of verdicts: 2 and 2 in 32768 rows"), "{text}");
    assert!(text.contains("served + lost + open: 1 and 1 in 32768 rows"), "{text}");

    let rows: [(&str, &[std::sync::atomic::AtomicU64], usize, &str); 5] = [
        (
            "a request without a verdict",
            regions.request_row(PathSlot(1), 1),
            0,
            "REQUEST_COUNTERS row 16385 (worker 1, PathPrefix /productpage): requests = sum of \
             verdicts: 3 is not 2",
        ),
        (
            "a connection too many",
            regions.request_row(PathSlot::NONE, 0),
            13,
            "REQUEST_COUNTERS row 0 (worker 0, no path): connections = refused + handshakes failed \
             + served + lost + open: 1 is not 0",
        ),
        (
            "a reason without a refusal",
            regions.reason_row(0),
            3,
            "REASON_COUNTERS row 0 (worker 0): refusals by reason = requests - allowed + retired: \
             1 is not 0",
        ),
        (
            "a packet without a verdict",
            regions.packet_row(0, Hook::TcIngress, 1),
            0,
            "PACKET_COUNTERS row 65 (CPU 0, tc_ingress, default/gateway/http): packets seen = sum \
             of verdicts: 2 is not 1",
        ),
        (
            "bytes without a verdict",
            regions.packet_row(0, Hook::Xdp, 0),
            1,
            "PACKET_COUNTERS row 0 (CPU 0, xdp, no listener): bytes seen = sum of verdicts: 1 is \
             not 0",
        ),
    ];
    for (name, row, word, said) in rows {
        row[word].fetch_add(1, Relaxed);
        let found = audit(&regions);
        assert!(!found.holds(), "{name}");
        assert!(found.to_string().contains(&format!("fault: {said}")), "{name}: {found}");
        assert_eq!(found.json()["holds"], false, "{name}");
        row[word].fetch_sub(1, Relaxed);
    }
    assert!(audit(&regions).holds());
}

#[test]
fn the_audit_of_a_busy_node_finds_no_fault() {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::Relaxed;

    let regions = regions();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..2 {
            let worker = regions.worker(number).unwrap();
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    worker.connection_accepted();
                    for verdict in [RequestVerdict::Allowed, RequestVerdict::Denied] {
                        worker.record(PathSlot(1), verdict, 1, 2);
                    }
                    worker.refused(0);
                    worker.connection_closed(ConnectionEnd::Served);
                }
            });
        }
        for _ in 0..3 {
            let found = audit(&regions);
            assert!(found.holds(), "{found}");
        }
        stop.store(true, Relaxed);
    });
}

#[test]
fn two_writers_of_a_row_lose_nothing() {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::Duration;

    let regions = Regions::anonymous(1).unwrap();
    regions.set_shared(true);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers = [(); 2].map(|()| {
            let worker = regions.worker(0).unwrap();
            let stop = &stop;
            scope.spawn(move || {
                let mut done = 0_u64;
                while !stop.load(Relaxed) {
                    for _ in 0..100 {
                        worker.record(PathSlot(0), RequestVerdict::Denied, 1, 1);
                        worker.refused(0);
                        done += 1;
                    }
                    thread::sleep(Duration::from_micros(100));
                }
                done
            })
        });
        let found = audit(&regions);
        assert!(found.holds(), "{found}");
        stop.store(true, Relaxed);
        let done: u64 = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        assert_eq!(Totals::read(&regions).requests().denied, done);
    });
}

#[test]
fn what_a_killed_writer_left_open_is_lost() {
    let regions = regions();
    let killed = regions.worker(0).unwrap();
    killed.connection_accepted();
    killed.connection_accepted();
    killed.connection_closed(ConnectionEnd::Served);
    let _next = regions.worker(0).unwrap();
    let sum = Totals::read(&regions).requests();
    assert_eq!((sum.connections, sum.connections_open, sum.connections_lost), (2, 0, 1));
    assert!(audit(&regions).holds());
}

#[test]
fn a_daemon_that_takes_over_counts_in_the_rows_of_the_one_before() {
    let regions = Regions::anonymous(2).unwrap();
    let old = regions.worker(0).unwrap();
    let beyond = regions.worker(1).unwrap();
    for worker in [&old, &old, &old, &beyond] {
        worker.connection_accepted();
    }
    regions.set_shared(true);
    let new = regions.worker(0).unwrap();
    new.connection_accepted();
    old.connection_closed(ConnectionEnd::Served);
    let open = || {
        let sum = Totals::read(&regions).requests();
        (sum.connections_open, sum.connections_lost)
    };
    assert_eq!(open(), (4, 0), "nothing is lost while the old one runs");
    assert!(audit(&regions).holds());
    // The old one is killed.
    regions.set_shared(false);
    new.settle(1);
    regions.settle_beyond(1);
    assert_eq!(open(), (1, 3));
    new.connection_closed(ConnectionEnd::Served);
    new.settle(0);
    assert_eq!(open(), (0, 3), "and only once");
    assert!(audit(&regions).holds());
}

#[test]
fn refusals_of_a_row_that_gets_another_name_stay_in_the_ledger() {
    let regions = Regions::anonymous(1).unwrap();
    let mut slots = PathSlots::new(regions.clone());
    let many =
        |from: usize| (0..16_383).map(|n| format!("Exact /{}", from + n)).collect::<Vec<_>>();
    slots.assign(&many(0));
    let worker = regions.worker(0).unwrap();
    worker.record(PathSlot(5), RequestVerdict::Denied, 0, 0);
    worker.refused(0);
    slots.assign(&many(20_000));
    assert_eq!(Totals::read(&regions).requests().denied, 0, "the row begins at zero");
    let found = audit(&regions);
    assert!(found.holds(), "{found}");
}
