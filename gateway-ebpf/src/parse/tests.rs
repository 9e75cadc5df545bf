//! Tests, tables with named rows.

extern crate std;

use std::vec::Vec;

use super::*;

/// A SYN from 192.0.2.1:40000 to 192.0.2.2:8080.
const V4: [u8; 54] = [
    2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, // Ethernet
    0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, // IPv4
    0x9c, 0x40, 0x1f, 0x90, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0, // TCP
];

/// The same from `2001:db8::1` to `2001:db8::2`.
fn v6(extensions: &[u8], first: u8) -> Vec<u8> {
    let mut packet = V4[..12].to_vec();
    packet.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, first, 64]);
    for last in [1, 2] {
        packet.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    packet.extend(extensions);
    packet.extend(&V4[34..]);
    packet
}

fn edited(offset: usize, byte: u8) -> Vec<u8> {
    let mut packet = V4.to_vec();
    packet[offset] = byte;
    packet
}

fn tagged(ethertypes: &[u16]) -> Vec<u8> {
    let mut packet = V4[..12].to_vec();
    for ethertype in ethertypes {
        packet.extend(ethertype.to_be_bytes());
        packet.extend([0, 7]);
    }
    packet.extend(&V4[12..]);
    packet
}

#[test]
fn addresses_ports_and_offsets_are_read() {
    let Parsed::Tcp(headers) = parse(&V4[..]) else { panic!("not TCP") };
    let expected = Headers {
        family: Family::V4,
        source_port: 40_000,
        destination_port: 8_080,
        flags: 0x02,
        network: 14,
        transport: 34,
        payload: 54,
    };
    assert_eq!(headers, expected);
    let expected = Segment {
        headers,
        source: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1],
        destination: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 2],
    };
    assert_eq!(headers.segment(&V4[..]), Some(expected));
    let packet = v6(&[], 6);
    let Parsed::Tcp(headers) = parse(&packet[..]) else { panic!("not TCP") };
    assert_eq!(headers.family, Family::V6);
    assert_eq!((headers.network, headers.transport, headers.payload), (14, 54, 74));
    let segment = headers.segment(&packet[..]).unwrap();
    assert_eq!((segment.source[15], segment.destination[15]), (1, 2));
}

#[test]
fn headers_in_front_move_the_offsets() {
    // Two destination options of 8 and 16 bytes, then an authentication header of 12.
    let chain = [&[60, 0][..], &[0; 6], &[51, 1], &[0; 14], &[6, 1], &[0; 10]].concat();
    let mut options = V4.to_vec();
    options[14] = 0x46;
    options[17] = 44;
    options.splice(34..34, [1; 4]);
    let rows = [
        ("one tag", tagged(&[0x8100]), 38),
        ("two tags", tagged(&[0x88a8, 0x8100]), 42),
        ("IPv4 options", options, 38),
        ("IPv6 extension headers", v6(&chain, 60), 54 + 8 + 16 + 12),
    ];
    for (name, packet, transport) in rows {
        let Parsed::Tcp(headers) = parse(&packet[..]) else { panic!("{name}: not TCP") };
        assert_eq!(headers.transport, transport, "{name}");
        assert_eq!(headers.destination_port, 8_080, "{name}");
        let segment = headers.segment(&packet[..]).unwrap();
        assert_eq!(segment.destination[15], 2, "{name}");
    }
}

#[test]
fn what_is_not_a_whole_segment_has_a_name() {
    let rows = [
        ("three tags", tagged(&[0x8100; 3]), Parsed::Unparsed),
        ("ARP", edited(13, 0x06), Parsed::Other),
        ("UDP", edited(23, 17), Parsed::Other),
        ("IPv4, first fragment", edited(20, 0x20), Parsed::Fragment),
        ("IPv4, later fragment", edited(21, 1), Parsed::Fragment),
        ("IPv4, unused bit", edited(20, 0x80), parse(&V4[..])),
        ("IPv4, total beyond 64 KiB", edited(17, 0), parse(&V4[..])),
        ("IPv4, wrong version", edited(14, 0x65), Parsed::Unparsed),
        ("IPv4, header too short", edited(14, 0x44), Parsed::Unparsed),
        ("IPv4, total too short", edited(17, 39), Parsed::Unparsed),
        ("TCP, header too short", edited(46, 0x40), Parsed::Unparsed),
        ("IPv6 fragment", v6(&[6, 0, 0, 0, 0, 0, 0, 0], 44), Parsed::Fragment),
        ("ICMPv6", v6(&[], 58), Parsed::Other),
        ("IPv6, no next header", v6(&[], 59), Parsed::Other),
        (
            "IPv6, seven extension headers",
            v6(&[60, 0, 0, 0, 0, 0, 0, 0].repeat(7), 60),
            Parsed::Unparsed,
        ),
        ("IPv6, extension header beyond the end", v6(&[6, 255], 60), Parsed::Unparsed),
    ];
    for (name, packet, expected) in rows {
        assert_eq!(parse(&packet[..]), expected, "{name}");
    }
}

#[test]
fn every_truncation_is_unparsed() {
    for packet in [V4.to_vec(), tagged(&[0x88a8, 0x8100]), v6(&[6, 0, 0, 0, 0, 0, 0, 0], 60)] {
        for length in 0..packet.len() {
            assert_eq!(parse(&packet[..length]), Parsed::Unparsed, "{length} bytes");
        }
    }
}

#[test]
fn any_bytes_have_an_answer_within_their_bounds() {
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33).to_le_bytes()[0]
    };
    for round in 0..100_000_usize {
        let mut packet: Vec<u8> = (0..round % 128).map(|_| random()).collect();
        // Half of them announce IP, so that they get past the first branch.
        if round % 2 == 0 && packet.len() > 14 {
            let (ethertype, version) =
                if round % 4 == 0 { ([0x08, 0x00], 0x45) } else { ([0x86, 0xdd], 0x60) };
            packet[12..14].copy_from_slice(&ethertype);
            packet[14] = version;
        }
        if let Parsed::Tcp(headers) = parse(&packet[..]) {
            assert!(headers.transport + TCP_HEADER <= packet.len());
            assert!(headers.payload <= headers.transport + 60);
            assert!(headers.segment(&packet[..]).is_some());
        }
    }
}
