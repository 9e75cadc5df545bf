//! Budgets of new connections by test run: who is limited, who has earned more, who has none; and
//! what the programs tell of it.

use gateway_common::abi;
use gateway_common::bans::BanMode;
use gateway_common::budget::{Event, EventKind};
use gateway_common::hook::Hook;
use gateway_common::verdict::PacketVerdict::{self, *};
use gateway_daemon::bpf::{Events, LoadOptions, Loaded, Packet, Privileged};
use gateway_daemon::clock;
use gateway_daemon::counters::ListenerSlot;
use gateway_daemon::model::ban::{Rate, Source, SynBudget};
use gateway_daemon::model::policy::Cidr;

use crate::bans::{TICK, ban, bans};
use crate::packet::{ACK, syn};
use crate::sandbox::{self, load, options, pin_directory, steer};
use crate::verdicts::{XDP_DROP, XDP_PASS, verdict};

/// One connection per second, so that a test's run is over before there is another.
const BUDGET: SynBudget =
    SynBudget { each: Rate { per_second: 1, burst: 3 }, earned: Rate { per_second: 1, burst: 5 } };

fn source(text: &str) -> Source {
    Source::parse(text).unwrap()
}

/// What becomes of so many SYNs: how many pass before the first is dropped; then all are.
fn passed(loaded: &mut Loaded, port: ListenerSlot, from: &str, most: usize) -> usize {
    let to = if from.contains(':') { "::1" } else { "127.0.0.1" };
    let packet = syn(from, to, 8080).bytes();
    let verdicts: Vec<(i32, PacketVerdict)> =
        (0..most).map(|_| verdict(loaded, Hook::Xdp, port, &packet)).collect();
    let limited = verdicts.iter().position(|verdict| *verdict != (XDP_PASS, Passed));
    let limited = limited.unwrap_or(most);
    if let Some(verdict) = verdicts.get(limited) {
        assert_eq!(*verdict, (XDP_DROP, SynLimited), "{from}");
    }
    limited
}

#[test]
fn a_source_opens_its_burst_and_no_more() {
    sandbox::enter();
    let trusted = vec![Cidr::parse("198.51.100.0/24").unwrap()];
    let mut loaded = load(LoadOptions { trusted_sources: trusted, ..options() });
    let port = steer(loaded.maps(), "http", &[], 8080);
    let mut maps = bans(BanMode::Off);
    assert_eq!(passed(&mut loaded, port, "192.0.2.1", 8), 8, "off by default");
    maps.set_budget(Some(BUDGET)).unwrap();
    // The runs take time, in which the source may earn another.
    assert!((3..=6).contains(&passed(&mut loaded, port, "192.0.2.1", 12)), "the burst");
    assert!((3..=6).contains(&passed(&mut loaded, port, "192.0.2.2", 12)), "another source");
    assert!((3..=6).contains(&passed(&mut loaded, port, "2001:db8::1", 12)), "IPv6");
    assert!(passed(&mut loaded, port, "2001:db8::2", 4) <= 3, "the /64 is one source");
    assert_eq!(passed(&mut loaded, port, "198.51.100.1", 20), 20, "trusted");
    // Only what opens a connection is limited, and only at gateway ports.
    let ack = syn("192.0.2.1", "127.0.0.1", 8080).flags(ACK).bytes();
    assert_eq!(verdict(&mut loaded, Hook::Xdp, port, &ack), (XDP_PASS, Passed));
    let other = syn("192.0.2.1", "127.0.0.1", 22).bytes();
    assert_eq!(verdict(&mut loaded, Hook::Xdp, ListenerSlot::NONE, &other), (XDP_PASS, Other));
    maps.set_budget(None).unwrap();
    assert_eq!(passed(&mut loaded, port, "192.0.2.1", 8), 8, "off again");
}

#[test]
fn a_source_with_earned_trust_has_more_until_that_ends() {
    sandbox::enter();
    let mut loaded = load(options());
    let port = steer(loaded.maps(), "http", &[], 8080);
    let mut maps = bans(BanMode::Off);
    maps.set_budget(Some(BUDGET)).unwrap();
    let soon = clock::since_boot() + 3_600_000_000_000;
    for (from, until, least, most) in [
        ("192.0.2.1", soon, 8, 14),
        ("2001:db8::1", soon, 8, 14),
        ("192.0.2.2", clock::since_boot() - u64::try_from(TICK.as_nanos()).unwrap(), 3, 6),
    ] {
        maps.earn(source(from), until).unwrap();
        let passed = passed(&mut loaded, port, from, 24);
        assert!((least..=most).contains(&passed), "{from}: {passed}");
    }
}

#[test]
fn bans_and_limits_are_told_of_once() {
    sandbox::enter();
    let mut loaded = load(options());
    let port = steer(loaded.maps(), "http", &[], 8080);
    let mut maps = bans(BanMode::Enforce);
    let mut events = Events::open(pin_directory()).unwrap_or_else(|error| panic!("{error}"));
    maps.set_budget(Some(BUDGET)).unwrap();
    maps.insert(source("192.0.2.1"), ban(60_000_000_000)).unwrap();
    assert_eq!(events.next_event(), None);
    let before = clock::since_boot() - u64::try_from(TICK.as_nanos()).unwrap();
    let banned = syn("192.0.2.1", "127.0.0.1", 8080).bytes();
    for _ in 0..3 {
        assert_eq!(verdict(&mut loaded, Hook::Xdp, port, &banned), (XDP_DROP, BannedSource));
    }
    assert!(passed(&mut loaded, port, "2001:db8::1", 12) < 12);
    let mut told = std::iter::from_fn(|| events.next_event());
    for (kind, family, from) in
        [(EventKind::BanHit, 4, "192.0.2.1"), (EventKind::SynLimited, 6, "2001:db8::1")]
    {
        let event = told.next().unwrap();
        assert_eq!((EventKind::of(event.kind), event.family), (Some(kind), family), "{event:?}");
        assert!(source(from).contains(event.source.into()), "{event:?}");
        assert!((before..=clock::since_boot()).contains(&event.at), "{event:?}");
    }
    assert_eq!(told.next(), None);
}

#[test]
fn events_without_room_are_counted() {
    /// More than the ring buffer holds.
    const TOLD: u64 = abi::EVENT_BYTES as u64 / Event::BYTES as u64;
    sandbox::enter();
    let privileged = Privileged::acquire().unwrap();
    let mut loaded = load(options());
    steer(loaded.maps(), "http", &[], 8080);
    let mut maps = bans(BanMode::Enforce);
    let mut events = Events::open(pin_directory()).unwrap_or_else(|error| panic!("{error}"));
    let banned = syn("192.0.2.1", "127.0.0.1", 8080).bytes();
    for _ in 0..TOLD {
        // A ban that is written anew has met no packet yet.
        maps.insert(source("192.0.2.1"), ban(60_000_000_000)).unwrap();
        let run = loaded.run(&privileged, Hook::Xdp, Packet::new(&banned)).unwrap();
        assert_eq!(run.action, XDP_DROP);
    }
    let lost = events.lost();
    assert!(lost > 0);
    assert_eq!(std::iter::from_fn(|| events.next_event()).count() as u64 + lost, TOLD);
}
