//! Packets that nobody sends: random bytes, and packets of the corpus with bytes changed and cut off.
//! The program must say of each what the pure half says of it on the host, and drop nothing that
//! is not for a gateway port and from a source that is denied or banned.

use gateway_common::bans::BanMode;
use gateway_common::hook::Hook;
use gateway_common::verdict::PacketVerdict;
use gateway_daemon::bpf::{Packet, Privileged};
use gateway_daemon::model::ban::Source;
use gateway_ebpf::parse::{Parsed, parse};

use crate::bans::{ban, bans};
use crate::sandbox::{self, assert_sums, load_denying, packets, regions, steer};
use crate::verdicts::{NEXT, XDP_DROP, XDP_PASS, headers, is_testable};

const PORT: u16 = 8080;
const ROUNDS: u64 = 6_000;
/// IPv4 as the parser writes it.
const DENIED: [u8; 4] = [198, 51, 100, 7];
const BANNED: [u8; 4] = [192, 0, 2, 1];
/// The /64 of the corpus.
const BANNED_PREFIX: [u8; 8] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0];

/// A generator of numbers, the same in every run (`SplitMix64`).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// Random bytes, or a packet of the corpus with some bytes changed, now and then cut off.
    fn packet(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        if self.below(4) == 0 {
            let mut bytes: Vec<u8> = (0..14 + self.below(200)).map(|_| self.byte()).collect();
            if self.below(2) == 0 {
                let kinds = [[0x08, 0x00], [0x86, 0xdd], [0x81, 0x00], [0x88, 0xa8]];
                bytes[12..14].copy_from_slice(&kinds[self.below(4)]);
            }
            return bytes;
        }
        let mut bytes = corpus[self.below(corpus.len())].clone();
        for _ in 0..self.below(4) {
            let at = self.below(bytes.len());
            bytes[at] = self.byte();
        }
        if self.below(8) == 0 {
            bytes.truncate(14 + self.below(bytes.len() - 14));
        }
        bytes
    }
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// What the program must count and do.
fn expected(bytes: &[u8]) -> (i32, PacketVerdict) {
    match parse(bytes) {
        Parsed::Tcp(headers) if headers.destination_port == PORT => {
            let segment = headers.segment(bytes).unwrap();
            let [.., a, b, c, d] = segment.source;
            let is_v4 = segment.source[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
            if is_v4 && [a, b, c, d] == DENIED {
                (XDP_DROP, PacketVerdict::DeniedSource)
            } else if is_v4 && [a, b, c, d] == BANNED || segment.source[..8] == BANNED_PREFIX {
                (XDP_DROP, PacketVerdict::BannedSource)
            } else {
                (XDP_PASS, PacketVerdict::Passed)
            }
        }
        Parsed::Tcp(_) | Parsed::Other => (XDP_PASS, PacketVerdict::Other),
        Parsed::Fragment => (XDP_PASS, PacketVerdict::Fragment),
        Parsed::Unparsed => (XDP_PASS, PacketVerdict::Unparsed),
    }
}

#[test]
fn random_packets_are_counted_and_dropped_only_where_a_source_is_denied_or_banned() {
    sandbox::enter();
    let mut loaded = load_denying(&["198.51.100.7"]);
    let port = steer(loaded.maps(), "http", &[], PORT);
    let mut maps = bans(BanMode::Enforce);
    for source in ["192.0.2.1", "2001:db8::/64"] {
        maps.insert(Source::parse(source).unwrap(), ban(3_600_000_000_000)).unwrap();
    }
    let privileged = Privileged::acquire().unwrap();
    let mut corpus: Vec<_> = headers().into_iter().map(|(_, bytes, _)| bytes).collect();
    let denied = crate::packet::syn("198.51.100.7", "127.0.0.1", PORT);
    corpus.extend([denied.bytes(), denied.tag(0x8100).options(8).bytes()]);
    corpus.push(crate::packet::syn("203.0.113.1", "127.0.0.1", PORT).bytes());
    let mut random = Random(20_260_101);
    let mut counts = [0_u64; PacketVerdict::ALL.len()];
    let mut dropped = 0;
    for round in 0..ROUNDS {
        let bytes = random.packet(&corpus);
        let (action, verdict) = expected(&bytes);
        let run = loaded.run(&privileged, Hook::Xdp, Packet::new(&bytes)).unwrap();
        assert_eq!(run.action, action, "round {round}: {verdict:?} for {bytes:02x?}");
        if run.action == XDP_DROP {
            dropped += 1;
            // Whatever the parser thinks: such a packet names one of these and the port.
            let sources: [&[u8]; 3] = [&DENIED, &BANNED, &BANNED_PREFIX];
            assert!(sources.iter().any(|source| holds(&bytes, source)), "round {round}");
            assert!(holds(&bytes, &PORT.to_be_bytes()), "round {round}");
        }
        counts[verdict as usize] += 1;
        if is_testable(&bytes) {
            let run = loaded.run(&privileged, Hook::TcIngress, Packet::new(&bytes)).unwrap();
            assert_eq!(run.action, NEXT, "round {round}: ingress for {bytes:02x?}");
            let run = loaded.run(&privileged, Hook::TcEgress, Packet::new(&bytes)).unwrap();
            assert_eq!(run.action, NEXT, "round {round}: egress for {bytes:02x?}");
        }
    }
    // The numbers are those of the generator: every kind of verdict came up, and often.
    let regions = regions(loaded.maps());
    for verdict in [
        PacketVerdict::Passed,
        PacketVerdict::DeniedSource,
        PacketVerdict::BannedSource,
        PacketVerdict::Other,
        PacketVerdict::Fragment,
        PacketVerdict::Unparsed,
    ] {
        let slot = match verdict {
            PacketVerdict::Passed | PacketVerdict::DeniedSource | PacketVerdict::BannedSource => {
                port
            }
            _ => gateway_daemon::counters::ListenerSlot::NONE,
        };
        let counted = packets(&regions, Hook::Xdp, slot, verdict);
        assert_eq!(counted, counts[verdict as usize], "{verdict:?}");
        assert!(counted >= 30, "{verdict:?} came up {counted} times only");
    }
    assert!(dropped >= 500, "{dropped}");
    assert_sums(&regions);
}
