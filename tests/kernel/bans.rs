//! Bans by test run: whose packets are dropped, for how long, and in which mode.

use std::time::Duration;

use gateway_common::abi::map;
use gateway_common::bans::{Ban, BanMode, BanReason};
use gateway_common::hook::Hook;
use gateway_common::verdict::PacketVerdict::{self, *};
use gateway_daemon::bpf::{BanMaps, Loaded};
use gateway_daemon::clock;
use gateway_daemon::counters::ListenerSlot;
use gateway_daemon::model::ban::{BanModes, Source};

use crate::packet::{ACK, FIN, RST, SYN, syn};
use crate::sandbox::{self, load, load_denying, options, pin_directory, steer};
use crate::verdicts::{XDP_DROP, XDP_PASS, headers, verdict};

/// The programs read the clock once per tick of the kernel's; the longest is 10 ms.
pub(crate) const TICK: Duration = Duration::from_millis(20);
const MINUTE: u64 = 60_000_000_000;

/// The maps of bans, in this mode.
pub(crate) fn bans(mode: BanMode) -> BanMaps {
    let mut bans = BanMaps::open(pin_directory()).unwrap_or_else(|error| panic!("{error}"));
    bans.set_modes(BanModes { now: mode, wanted: mode }).unwrap();
    bans
}

/// A ban that ends so many nanoseconds from now.
pub(crate) fn ban(left: u64) -> Ban {
    let since = clock::since_boot();
    Ban { expires: since + left, since, packets: 0, strikes: 3, reason: BanReason::Manual as u32 }
}

fn source(text: &str) -> Source {
    Source::parse(text).unwrap()
}

fn ask(loaded: &mut Loaded, port: ListenerSlot, from: &str) -> (i32, PacketVerdict) {
    let to = if from.contains(':') { "::1" } else { "127.0.0.1" };
    verdict(loaded, Hook::Xdp, port, &syn(from, to, 8080).bytes())
}

#[test]
fn packets_of_banned_sources_are_dropped_at_gateway_ports() {
    sandbox::enter();
    let mut loaded = load(options());
    let port = steer(loaded.maps(), "http", &[], 8080);
    let mut bans = bans(BanMode::Enforce);
    for banned in ["192.0.2.1", "2001:db8:1:2::/64"] {
        bans.insert(source(banned), ban(MINUTE)).unwrap();
    }
    for flags in [SYN, SYN | ACK, ACK, ACK | FIN, RST, 0] {
        let packet = syn("192.0.2.1", "127.0.0.1", 8080).flags(flags).bytes();
        let result = verdict(&mut loaded, Hook::Xdp, port, &packet);
        assert_eq!(result, (XDP_DROP, BannedSource), "flags {flags:#x}");
    }
    let none = ListenerSlot::NONE;
    let rows = [
        (
            "in QinQ",
            syn("192.0.2.1", "127.0.0.1", 8080).tag(0x88a8).tag(0x8100),
            port,
            BannedSource,
        ),
        ("with options", syn("192.0.2.1", "127.0.0.1", 8080).options(40), port, BannedSource),
        ("another host of the /64", syn("2001:db8:1:2:9::9", "::1", 8080), port, BannedSource),
        (
            "behind headers",
            syn("2001:db8:1:2::9", "::1", 8080).extension(60, 8),
            port,
            BannedSource,
        ),
        ("the next address", syn("192.0.2.2", "127.0.0.1", 8080), port, Passed),
        ("the next /64", syn("2001:db8:1:3::1", "::1", 8080), port, Passed),
        ("another port", syn("192.0.2.1", "127.0.0.1", 22), none, Other),
        ("a fragment", syn("192.0.2.1", "127.0.0.1", 8080).fragment(0x2000), none, Fragment),
    ];
    for (name, packet, slot, expected) in rows {
        let action = if expected == BannedSource { XDP_DROP } else { XDP_PASS };
        let result = verdict(&mut loaded, Hook::Xdp, slot, &packet.bytes());
        assert_eq!(result, (action, expected), "{name}");
    }
    let met: Vec<_> = bans.list().unwrap().into_iter().map(|(s, ban)| (s, ban.packets)).collect();
    assert_eq!(met, [(source("192.0.2.1"), 8), (source("2001:db8:1:2::"), 2)]);
    // Other hooks have no opinion.
    let packet = syn("192.0.2.1", "127.0.0.1", 8080).bytes();
    assert_eq!(verdict(&mut loaded, Hook::TcIngress, port, &packet).1, NoListener);
}

#[test]
fn the_mode_decides_what_a_ban_does() {
    sandbox::enter();
    let mut loaded = load(options());
    let port = steer(loaded.maps(), "http", &[], 8080);
    let rows = [
        (BanMode::Off, XDP_PASS, Passed),
        (BanMode::Audit, XDP_PASS, BanAudit),
        (BanMode::Enforce, XDP_DROP, BannedSource),
        (BanMode::Off, XDP_PASS, Passed),
    ];
    let mut maps = bans(BanMode::Off);
    maps.insert(source("192.0.2.1"), ban(MINUTE)).unwrap();
    for (mode, action, expected) in rows {
        let maps = bans(mode);
        assert_eq!(maps.modes().unwrap(), BanModes { now: mode, wanted: mode });
        assert_eq!(ask(&mut loaded, port, "192.0.2.1"), (action, expected), "{mode:?}");
        assert_eq!(ask(&mut loaded, port, "192.0.2.2"), (XDP_PASS, Passed), "{mode:?}");
    }
    // Suspended: counted only, and what the operator wants is kept.
    let suspended = BanModes { now: BanMode::Audit, wanted: BanMode::Enforce };
    maps.set_modes(suspended).unwrap();
    assert_eq!(maps.modes().unwrap(), suspended);
    assert_eq!(ask(&mut loaded, port, "192.0.2.1"), (XDP_PASS, BanAudit));
}

#[test]
fn a_ban_ends_by_itself_or_when_it_is_removed() {
    sandbox::enter();
    let mut loaded = load(options());
    let port = steer(loaded.maps(), "http", &[], 8080);
    let mut maps = bans(BanMode::Enforce);
    for from in ["192.0.2.1", "2001:db8::1"] {
        maps.insert(source(from), ban(MINUTE)).unwrap();
        assert_eq!(ask(&mut loaded, port, from), (XDP_DROP, BannedSource), "{from}");
        // Nobody removes it; its time is over.
        let over = Ban { expires: clock::since_boot(), ..ban(0) };
        maps.insert(source(from), over).unwrap();
        std::thread::sleep(TICK);
        assert_eq!(ask(&mut loaded, port, from), (XDP_PASS, Passed), "{from}");
        maps.insert(source(from), ban(MINUTE)).unwrap();
        assert!(maps.remove(source(from)).unwrap());
        assert_eq!(ask(&mut loaded, port, from), (XDP_PASS, Passed), "{from}");
        assert!(!maps.remove(source(from)).unwrap(), "it was removed twice");
    }
    assert_eq!(maps.list().unwrap(), []);
}

#[test]
fn bans_continue_over_a_restart_and_the_deny_list_goes_first() {
    sandbox::enter();
    let mut loaded = load(options());
    steer(loaded.maps(), "http", &[], 8080);
    let mut maps = bans(BanMode::Enforce);
    maps.insert(source("192.0.2.1"), ban(MINUTE)).unwrap();
    maps.insert(source("198.51.100.1"), ban(MINUTE)).unwrap();
    drop((loaded, maps));
    // Nobody runs: the pins answer.
    assert_eq!(BanMaps::open(pin_directory()).unwrap().list().unwrap().len(), 2);
    let mut loaded = load_denying(&["198.51.100.0/24"]);
    let port = steer(loaded.maps(), "http", &[], 8080);
    assert_eq!(ask(&mut loaded, port, "192.0.2.1"), (XDP_DROP, BannedSource));
    assert_eq!(ask(&mut loaded, port, "198.51.100.1"), (XDP_DROP, DeniedSource));
}

#[test]
fn a_full_map_is_named() {
    sandbox::enter();
    let loaded = load(options());
    let mut maps = bans(BanMode::Enforce);
    let address = |number: u32| Source::V4((0x0a00_0000 + number).into());
    let most = gateway_common::abi::MAX_BANNED_SOURCES;
    for number in 0..most {
        maps.insert(address(number), ban(MINUTE)).unwrap();
    }
    let error = maps.insert(address(most), ban(MINUTE)).unwrap_err().to_string();
    assert!(error.contains(map::BANNED_SOURCES_V4) && error.contains("bans clear"), "{error}");
    // One that is there can be written anew, and the other family has room.
    maps.insert(address(0), ban(2 * MINUTE)).unwrap();
    maps.insert(source("2001:db8::1"), ban(MINUTE)).unwrap();
    assert_eq!(maps.list().unwrap().len(), most as usize + 1);
    drop(loaded);
}

#[test]
fn a_ban_meets_every_form_of_packet_that_is_for_a_gateway_port_and_nothing_else() {
    sandbox::enter();
    let mut loaded = load(options());
    let port = steer(loaded.maps(), "http", &[], 8080);
    let mut bans = bans(BanMode::Enforce);
    for banned in ["192.0.2.1", "2001:db8::1"] {
        bans.insert(source(banned), ban(MINUTE)).unwrap();
    }
    for (name, bytes, otherwise) in headers() {
        let (slot, expected) = match otherwise {
            None => (port, (XDP_DROP, BannedSource)),
            Some(verdict) => (ListenerSlot::NONE, (XDP_PASS, verdict)),
        };
        assert_eq!(verdict(&mut loaded, Hook::Xdp, slot, &bytes), expected, "{name}");
    }
}
