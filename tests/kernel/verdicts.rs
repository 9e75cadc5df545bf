//! Every verdict of every program, by test run: one packet in, one counter up.

use std::sync::atomic::Ordering::Relaxed;

use gateway_common::abi::map;
use gateway_common::flow::FlowPath;
use gateway_common::hook::Hook;
use gateway_common::path::PathSlot;
use gateway_common::verdict::PacketVerdict::{self, *};
use gateway_daemon::bpf::{Loaded, Packet, Privileged};
use gateway_daemon::counters::{ListenerSlot, Totals};

use crate::packet::{ACK, FIN, RST, SYN, Segment, syn};
use crate::sandbox::{self, assert_sums, packets, regions, steer, sysctl};

const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;

/// TCX and TC: let the next program decide.
pub(crate) const NEXT: i32 = -1;
pub(crate) const XDP_DROP: i32 = 1;
pub(crate) const XDP_PASS: i32 = 2;

/// Runs a packet and answers what its row says: the action and the verdict that was counted for
/// the listener, exactly one packet with all its bytes.
pub(crate) fn verdict(
    loaded: &mut Loaded,
    hook: Hook,
    slot: ListenerSlot,
    bytes: &[u8],
) -> (i32, PacketVerdict) {
    let privileged = Privileged::acquire().unwrap();
    let regions = regions(loaded.maps());
    let before = PacketVerdict::ALL.map(|verdict| packets(&regions, hook, slot, verdict));
    let run = loaded.run(&privileged, hook, Packet::new(bytes));
    let run = run.unwrap_or_else(|error| panic!("{} bytes: {error}", bytes.len()));
    let after = PacketVerdict::ALL.map(|verdict| packets(&regions, hook, slot, verdict));
    assert_sums(&regions);
    let counted: Vec<_> = PacketVerdict::ALL
        .into_iter()
        .filter(|&verdict| after[verdict as usize] != before[verdict as usize])
        .collect();
    let [verdict] = counted[..] else { panic!("{hook:?}: counted {counted:?} for slot {slot:?}") };
    assert_eq!(after[verdict as usize], before[verdict as usize] + 1);
    (run.action, verdict)
}

fn v4() -> Segment {
    syn("192.0.2.1", "127.0.0.1", 8080)
}

fn v6() -> Segment {
    syn("2001:db8::1", "::1", 8080)
}

/// Packets whose verdict depends on their headers alone: (name, bytes, belongs to the gateway
/// port, verdict otherwise).
pub(crate) fn headers() -> Vec<(&'static str, Vec<u8>, Option<PacketVerdict>)> {
    let gateway = None;
    vec![
        ("plain IPv4", v4().bytes(), gateway),
        ("plain IPv6", v6().bytes(), gateway),
        ("IPv4 with data", v4().payload(1000).bytes(), gateway),
        ("IPv4 in a VLAN", v4().tag(VLAN).bytes(), gateway),
        ("IPv6 in a VLAN", v6().tag(VLAN).bytes(), gateway),
        ("IPv4 in QinQ", v4().tag(SERVICE_VLAN).tag(VLAN).bytes(), gateway),
        ("IPv6 in QinQ", v6().tag(SERVICE_VLAN).tag(VLAN).bytes(), gateway),
        ("three tags", v4().tag(VLAN).tag(VLAN).tag(VLAN).bytes(), Some(Unparsed)),
        ("IPv4 with 4 bytes of options", v4().options(4).bytes(), gateway),
        ("IPv4 with 40 bytes of options", v4().options(40).tag(VLAN).bytes(), gateway),
        ("IPv4, don't fragment", v4().fragment(0x4000).bytes(), gateway),
        ("IPv4, first fragment", v4().fragment(0x2000).bytes(), Some(Fragment)),
        ("IPv4, last fragment", v4().fragment(0x00b9).bytes(), Some(Fragment)),
        ("IPv6 with hop-by-hop options", v6().extension(0, 8).bytes(), gateway),
        ("IPv6 with routing header", v6().extension(43, 24).bytes(), gateway),
        ("IPv6 with long options", v6().extension(60, 512).bytes(), gateway),
        ("IPv6 with authentication header", v6().extension(51, 24).bytes(), gateway),
        (
            "IPv6 with six extension headers",
            (0..6).fold(v6(), |p, _| p.extension(60, 8)).bytes(),
            gateway,
        ),
        (
            "IPv6 with seven extension headers",
            (0..7).fold(v6(), |p, _| p.extension(60, 8)).bytes(),
            Some(Unparsed),
        ),
        ("IPv6 fragment", v6().extension(44, 8).bytes(), Some(Fragment)),
        (
            "IPv6 fragment after options",
            v6().extension(0, 8).extension(44, 8).bytes(),
            Some(Fragment),
        ),
        ("another port", syn("192.0.2.1", "127.0.0.1", 8081).bytes(), Some(Other)),
        ("another port, IPv6", syn("2001:db8::1", "::1", 80).bytes(), Some(Other)),
        ("UDP", v4().with(14 + 9, 17), Some(Other)),
        ("UDP over IPv6", v6().with(14 + 6, 17), Some(Other)),
        ("ICMPv6", v6().with(14 + 6, 58), Some(Other)),
        ("ARP", v4().with(13, 0x06), Some(Other)),
        ("a byte of IP", v4().cut(15), Some(Unparsed)),
        ("tag cut off", v4().tag(VLAN).cut(16), Some(Unparsed)),
        ("IPv4 header cut off", v4().cut(14 + 12), Some(Unparsed)),
        ("IPv4 options cut off", v4().options(40).cut(14 + 40), Some(Unparsed)),
        ("IPv6 header cut off", v6().cut(14 + 39), Some(Unparsed)),
        ("IPv6 extension cut off", v6().extension(60, 64).cut(14 + 40 + 40), Some(Unparsed)),
        ("TCP header cut off", v4().cut(14 + 20 + 13), Some(Unparsed)),
        ("TCP header cut off by a byte", v4().cut(14 + 20 + 19), Some(Unparsed)),
        ("IPv4 with version 5", v4().with(14, 0x55), Some(Unparsed)),
        ("IPv4 with a header of 16 bytes", v4().with(14, 0x44), Some(Unparsed)),
        ("IPv4 with a total below its headers", v4().with(17, 39), Some(Unparsed)),
        ("IPv6 with version 4", v6().with(14, 0x40), Some(Unparsed)),
        ("TCP with a header of 16 bytes", v4().with(14 + 20 + 12, 0x40), Some(Unparsed)),
        ("FIN, SYN, RST and ACK", v4().flags(FIN | SYN | RST | ACK).bytes(), gateway),
    ]
}

/// Whether the kernel makes a socket buffer of a packet for a test run: not of IP without a whole
/// header, which XDP sees.
pub(crate) fn is_testable(bytes: &[u8]) -> bool {
    match bytes[12..14] {
        [0x08, 0x00] => bytes.len() >= 14 + 20,
        [0x86, 0xdd] => bytes.len() >= 14 + 40,
        _ => true,
    }
}

#[test]
fn xdp_counts_every_packet_and_drops_none_that_is_not_denied() {
    sandbox::enter();
    let mut loaded = sandbox::load(sandbox::options());
    let port = steer(loaded.maps(), "http", &[], 8080);
    for (name, bytes, otherwise) in headers() {
        let (slot, expected) = match otherwise {
            None => (port, Passed),
            Some(verdict) => (ListenerSlot::NONE, verdict),
        };
        let result = verdict(&mut loaded, Hook::Xdp, slot, &bytes);
        assert_eq!(result, (XDP_PASS, expected), "{name}");
    }
}

#[test]
fn xdp_drops_denied_sources_at_gateway_ports_only() {
    sandbox::enter();
    let denied = ["192.0.2.0/24", "198.51.100.7", "2001:db8::/32", "::ffff:203.0.113.0/120"];
    let mut loaded = sandbox::load_denying(&denied);
    let port = steer(loaded.maps(), "http", &[], 8080);
    let rows = [
        ("prefix", syn("192.0.2.200", "127.0.0.1", 8080), port, XDP_DROP, DeniedSource),
        ("in a VLAN", syn("192.0.2.2", "127.0.0.1", 8080).tag(VLAN), port, XDP_DROP, DeniedSource),
        ("address", syn("198.51.100.7", "127.0.0.1", 8080), port, XDP_DROP, DeniedSource),
        ("next address", syn("198.51.100.8", "127.0.0.1", 8080), port, XDP_PASS, Passed),
        ("mapped prefix", syn("203.0.113.9", "127.0.0.1", 8080), port, XDP_DROP, DeniedSource),
        ("IPv6 prefix", syn("2001:db8:1::1", "::1", 8080), port, XDP_DROP, DeniedSource),
        ("IPv6 outside", syn("2001:db9::1", "::1", 8080), port, XDP_PASS, Passed),
        ("another port", syn("192.0.2.1", "127.0.0.1", 22), ListenerSlot::NONE, XDP_PASS, Other),
    ];
    for (name, packet, slot, action, expected) in rows {
        let result = verdict(&mut loaded, Hook::Xdp, slot, &packet.bytes());
        assert_eq!(result, (action, expected), "{name}");
    }
}

#[test]
fn ingress_counts_every_packet_and_takes_what_opens_a_connection() {
    sandbox::enter();
    let mut loaded = sandbox::load(sandbox::options());
    let port = steer(loaded.maps(), "http", &[], 8080);
    for (name, bytes, otherwise) in headers() {
        if !is_testable(&bytes) {
            continue;
        }
        // There are no worker sockets: a SYN finds no listener. (The kernel lets a test run assign
        // no socket; the tests of steering see that live.)
        let (slot, expected) = match otherwise {
            None if name.starts_with("FIN") => (port, Established),
            None => (port, NoListener),
            Some(verdict) => (ListenerSlot::NONE, verdict),
        };
        let result = verdict(&mut loaded, Hook::TcIngress, slot, &bytes);
        assert_eq!(result, (NEXT, expected), "{name}");
    }
    for flags in [ACK, ACK | FIN, RST, RST | ACK, SYN | ACK, 0] {
        let packet = v4().flags(flags).bytes();
        let result = verdict(&mut loaded, Hook::TcIngress, port, &packet);
        assert_eq!(result, (NEXT, Established), "flags {flags:#x}");
    }
}

#[test]
fn ingress_leaves_alone_what_is_on_its_way_through() {
    sandbox::enter();
    let mut loaded = sandbox::load(sandbox::options());
    let port = steer(loaded.maps(), "http", &[], 8080);
    let named = steer(loaded.maps(), "named", &["198.51.100.1"], 8081);
    sandbox::run("ip link add dummy0 type veth peer name dummy1");
    sandbox::run("ip link set dummy0 up");
    sandbox::run("ip addr add 198.51.100.10/24 dev dummy0");
    sandbox::run("ip addr add 2001:db8:2::10/64 dev dummy0 nodad");
    sysctl("net/ipv4/ip_forward", "1");
    sysctl("net/ipv6/conf/all/forwarding", "1");
    sysctl("net/ipv6/conf/lo/forwarding", "1");
    let rows = [
        ("local", syn("198.51.100.20", "198.51.100.10", 8080), port, NoListener),
        ("through", syn("192.0.2.1", "198.51.100.20", 8080), ListenerSlot::NONE, Other),
        ("local, IPv6", syn("2001:db8:2::20", "2001:db8:2::10", 8080), port, NoListener),
        ("through, IPv6", syn("2001:db8::1", "2001:db8:2::20", 8080), ListenerSlot::NONE, Other),
        ("named, not local", syn("192.0.2.1", "198.51.100.1", 8081), named, NoListener),
        ("not that name", syn("192.0.2.1", "198.51.100.10", 8081), ListenerSlot::NONE, Other),
    ];
    for (name, packet, slot, expected) in rows {
        let result = verdict(&mut loaded, Hook::TcIngress, slot, &packet.bytes());
        assert_eq!(result, (NEXT, expected), "{name}");
    }
}

#[test]
fn egress_counts_what_leaves_a_gateway_port() {
    sandbox::enter();
    let mut loaded = sandbox::load(sandbox::options());
    let port = steer(loaded.maps(), "http", &[], 8080);
    let answer = |to: u16| syn("127.0.0.1", "192.0.2.1", to).flags(ACK);
    let rows = [
        ("from the port", answer(40_000).source_port(8080), port, Passed),
        ("to the port", answer(8080).source_port(40_000), ListenerSlot::NONE, Other),
        ("in QinQ", answer(9).source_port(8080).tag(SERVICE_VLAN).tag(VLAN), port, Passed),
        ("fragment", answer(9).source_port(8080).fragment(1), ListenerSlot::NONE, Fragment),
        ("deeper", answer(9).tag(VLAN).tag(VLAN).tag(VLAN), ListenerSlot::NONE, Unparsed),
    ];
    for (name, packet, slot, expected) in rows {
        let result = verdict(&mut loaded, Hook::TcEgress, slot, &packet.bytes());
        assert_eq!(result, (NEXT, expected), "{name}");
    }
}

#[test]
fn egress_counts_for_the_path_that_a_connection_answers() {
    sandbox::enter();
    let mut loaded = sandbox::load(sandbox::options());
    steer(loaded.maps(), "http", &[], 8080);
    let regions = regions(loaded.maps());
    let path = gateway_daemon::counters::PathSlots::new(regions.clone())
        .assign(&["PathPrefix /".to_owned()])
        .slots[0];
    let bytes = syn("127.0.0.1", "192.0.2.1", 9).source_port(8080).flags(ACK).payload(3000).bytes();
    let headers = 14 + 20 + 20;
    let privileged = Privileged::acquire().unwrap();
    let flows = loaded.maps().region(map::FLOW_PATHS).unwrap();
    let [client, gateway] = [("192.0.2.1", 9), ("127.0.0.1", 8080)].map(|(address, port)| {
        let address: std::net::Ipv4Addr = address.parse().unwrap();
        (address.to_ipv6_mapped().octets(), port)
    });
    let flow = FlowPath::of(client, gateway);
    let mut run = |word, segments| {
        flows.words()[flow.row as usize].store(word, Relaxed);
        let packet = Packet { segments, ..Packet::new(&bytes) };
        loaded.run(&privileged, Hook::TcEgress, packet).unwrap();
    };
    run(flow.word(path, true), 0);
    run(flow.word(path, false), 0);
    // A batch of three: three packets on the wire, each with headers.
    run(flow.word(path, true), 3);
    // Nothing said, another connection's word, a slot out of range: no path's.
    run(0, 0);
    run(FlowPath::of(gateway, client).word(path, true), 0);
    run(flow.word(PathSlot(0x7f_ffff), true), 0);
    let totals = Totals::read(&regions);
    let wire = totals.paths.iter().find(|row| row.slot == path).unwrap().wire;
    let one = bytes.len() as u64;
    assert_eq!((wire.allowed.packets, wire.allowed.bytes), (4, 2 * one + 2 * headers));
    assert_eq!((wire.refused.packets, wire.refused.bytes), (1, one));
    let seen = packets(&regions, Hook::TcEgress, ListenerSlot(1), Passed);
    assert_eq!(seen, 8, "packets of a batch count one by one");
    assert_sums(&regions);
}

/// A start waits for the verifier, about a millisecond per thousand instructions that it follows.
#[test]
fn no_program_takes_the_verifier_long() {
    sandbox::enter();
    let mut loaded = sandbox::load(sandbox::options());
    for hook in Hook::ALL {
        let verified = loaded.verified(hook).unwrap().expect("a kernel that counts");
        assert!(verified < 8_000, "{}: {verified} instructions", hook.name());
    }
}
