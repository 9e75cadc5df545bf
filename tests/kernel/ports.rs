//! Ranges of ports, and ports that several listeners have at addresses of their own.

use gateway_common::hook::Hook;
use gateway_common::verdict::PacketVerdict::{Other, Passed};
use gateway_daemon::bpf::{Loaded, Packet, Privileged};
use gateway_daemon::counters::ListenerSlot;
use gateway_daemon::model::port_range::PortRange;

use crate::packet::syn;
use crate::sandbox::{self, load, options, packets, regions};
use crate::verdicts::verdict;

const NONE: ListenerSlot = ListenerSlot::NONE;

fn range(text: &str) -> PortRange {
    PortRange::parse(text).unwrap()
}

fn steer(loaded: &mut Loaded, slot: u32, addresses: &[&str], ports: &str) {
    let addresses: Vec<_> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    loaded.maps().steer(ListenerSlot(slot), &addresses, range(ports)).unwrap();
}

fn unsteer(loaded: &mut Loaded, addresses: &[&str], ports: &str) {
    let addresses: Vec<_> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    loaded.maps().unsteer(&addresses, range(ports)).unwrap();
}

/// Asserts which listener a packet belongs to.
fn belongs(loaded: &mut Loaded, to: &str, port: u16, slot: ListenerSlot) {
    let from = if to.contains(':') { "2001:db8::9" } else { "192.0.2.9" };
    let expected = if slot == NONE { Other } else { Passed };
    let (_, found) = verdict(loaded, Hook::Xdp, slot, &syn(from, to, port).bytes());
    assert_eq!(found, expected, "{to} port {port}");
}

#[test]
fn every_port_of_a_range_belongs_to_its_listener() {
    sandbox::enter();
    let mut loaded = load(options());
    steer(&mut loaded, 1, &[], "8000-8999");
    steer(&mut loaded, 2, &[], "9000-9000");
    steer(&mut loaded, 3, &["10.9.9.9", "2001:db8:9::1"], "30000-32767");
    let rows = [
        ("127.0.0.1", 7999, NONE),
        ("127.0.0.1", 8000, ListenerSlot(1)),
        ("127.0.0.1", 8001, ListenerSlot(1)),
        ("::1", 8500, ListenerSlot(1)),
        ("10.9.9.9", 8999, ListenerSlot(1)),
        ("127.0.0.1", 9000, ListenerSlot(2)),
        ("127.0.0.1", 9001, NONE),
        ("10.9.9.9", 29_999, NONE),
        ("10.9.9.9", 30_000, ListenerSlot(3)),
        ("2001:db8:9::1", 32_767, ListenerSlot(3)),
        ("10.9.9.9", 32_768, NONE),
        ("10.9.9.8", 31_000, NONE),
        ("::1", 31_000, NONE),
    ];
    for (to, port, slot) in rows {
        belongs(&mut loaded, to, port, slot);
    }
    // From a port of the range, on egress.
    let answer = syn("10.9.9.9", "192.0.2.9", 40_000).source_port(31_234).bytes();
    assert_eq!(verdict(&mut loaded, Hook::TcEgress, ListenerSlot(3), &answer).1, Passed);
}

#[test]
fn every_port_can_be_one_range() {
    sandbox::enter();
    let mut loaded = load(options());
    steer(&mut loaded, 1, &[], "1-65535");
    let privileged = Privileged::acquire().unwrap();
    let regions = regions(loaded.maps());
    for port in 1..=u16::MAX {
        let bytes = syn("192.0.2.9", "127.0.0.1", port).bytes();
        loaded.run(&privileged, Hook::Xdp, Packet::new(&bytes)).unwrap();
    }
    assert_eq!(packets(&regions, Hook::Xdp, ListenerSlot(1), Passed), 65_535);
    belongs(&mut loaded, "127.0.0.1", 0, NONE);
    unsteer(&mut loaded, &[], "1-65535");
    for port in [1, 2, 80, 443, 65_535] {
        belongs(&mut loaded, "127.0.0.1", port, NONE);
    }
}

#[test]
fn a_range_is_exchanged_for_another_that_overlaps() {
    sandbox::enter();
    let mut loaded = load(options());
    // As a reload does it: open the new one, close the old one.
    let rows = [
        ("8000-8010", "8000-8020", &[8000, 8010, 8020][..], &[8021][..]),
        ("8000-8020", "8000-8005", &[8000, 8005], &[8006, 8020]),
        ("8000-8010", "7990-8005", &[7990, 8000, 8005], &[7989, 8006, 8010]),
        ("8000-8010", "8005-8015", &[8005, 8010, 8015], &[8000, 8004, 8016]),
        ("8000-8010", "8003-8003", &[8003], &[8000, 8002, 8004]),
        ("8003-8003", "8000-8010", &[8000, 8003, 8010], &[7999]),
    ];
    for (old, new, inside, outside) in rows {
        steer(&mut loaded, 1, &[], old);
        steer(&mut loaded, 2, &[], new);
        for &port in inside {
            belongs(&mut loaded, "127.0.0.1", port, ListenerSlot(2));
        }
        unsteer(&mut loaded, &[], old);
        for &port in inside {
            belongs(&mut loaded, "127.0.0.1", port, ListenerSlot(2));
        }
        for &port in outside {
            belongs(&mut loaded, "127.0.0.1", port, NONE);
        }
        unsteer(&mut loaded, &[], new);
        for &port in inside {
            belongs(&mut loaded, "127.0.0.1", port, NONE);
        }
    }
    assert_eq!(loaded.maps().steered().count(), 0);
}

#[test]
fn an_address_of_its_own_goes_before_every_address() {
    sandbox::enter();
    let mut loaded = load(options());
    steer(&mut loaded, 1, &[], "443-443");
    steer(&mut loaded, 2, &["10.9.9.1"], "443-443");
    steer(&mut loaded, 3, &["10.9.9.2", "2001:db8:9::2"], "443-443");
    let rows = [
        ("10.9.9.1", ListenerSlot(2)),
        ("10.9.9.2", ListenerSlot(3)),
        ("2001:db8:9::2", ListenerSlot(3)),
        ("10.9.9.3", ListenerSlot(1)),
        ("2001:db8:9::3", ListenerSlot(1)),
    ];
    for (to, slot) in rows {
        belongs(&mut loaded, to, 443, slot);
    }
    // One goes; the others are not touched.
    unsteer(&mut loaded, &["10.9.9.1"], "443-443");
    belongs(&mut loaded, "10.9.9.1", 443, ListenerSlot(1));
    belongs(&mut loaded, "10.9.9.2", 443, ListenerSlot(3));
    unsteer(&mut loaded, &[], "443-443");
    belongs(&mut loaded, "10.9.9.1", 443, NONE);
    belongs(&mut loaded, "2001:db8:9::2", 443, ListenerSlot(3));
}

#[test]
fn more_addresses_than_there_is_room_for_are_named() {
    sandbox::enter();
    let mut loaded = load(options());
    let most = gateway_common::abi::MAX_GATEWAY_PORTS;
    let address = |number: u32| std::net::Ipv4Addr::from(0x0a00_0000 + number).into();
    let all: Vec<std::net::IpAddr> = (0..=most).map(address).collect();
    let error = loaded.maps().steer(ListenerSlot(1), &all, 80).unwrap_err().to_string();
    assert!(error.contains("more than 4096 pairs of address and port"), "{error}");
}
