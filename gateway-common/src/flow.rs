//! Flows: what both halves make of a connection's addresses and ports.

use crate::abi;
use crate::path::PathSlot;

/// An odd constant with well-spread bits (the 64-bit golden ratio).
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// A hash of a few words. Its upper bits are spread best.
#[inline(always)]
#[expect(clippy::inline_always, reason = "a call would cost the kernel half more than this does")]
pub const fn mix<const N: usize>(seed: u64, words: [u64; N]) -> u64 {
    let mut hash = seed;
    let mut at = 0;
    while at < N {
        hash = (hash ^ words[at]).wrapping_mul(MIX);
        hash ^= hash >> 32;
        at += 1;
    }
    hash.wrapping_mul(MIX)
}

/// One end of a connection: its address in network order, IPv4 written IPv4-mapped, and its port.
pub type End = ([u8; 16], u16);

/// Where a connection stands in `FLOW_PATHS`, which says what it answers, so that TC egress can count
/// what leaves for the path. Two connections may have one row; the word in it says whose it is, and the
/// other's packets count for no path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FlowPath {
    /// Row of the map.
    pub row: u32,
    tag: u32,
}

impl FlowPath {
    /// Rows of the map; a power of two.
    pub const ROWS: u32 = 131_072;
    /// Bit of a word: it says something.
    const SAID: u64 = 1 << 31;

    /// The place of a connection.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as above")]
    #[expect(clippy::cast_possible_truncation, reason = "a part of the hash for each")]
    pub const fn of(client: End, gateway: End) -> Self {
        let [a, b] = halves(client.0);
        let [c, d] = halves(gateway.0);
        let ports = (client.1 as u64) << 16 | gateway.1 as u64;
        let hash = mix(0, [a ^ c.rotate_left(32), b ^ d.rotate_left(32), ports]);
        Self { row: (hash >> 12) as u32 & (Self::ROWS - 1), tag: (hash >> 32) as u32 }
    }

    /// The word for what it answers: a request of this path, permitted or not.
    pub const fn word(self, path: PathSlot, permitted: bool) -> u64 {
        (self.tag as u64) << 32 | Self::SAID | (path.0 as u64) << 1 | permitted as u64
    }

    /// Whether a word is this connection's.
    pub const fn is_own(self, word: u64) -> bool {
        word & Self::SAID != 0 && word >> 32 == self.tag as u64
    }

    /// Reads a word back, if it is this connection's and in range.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as above")]
    pub const fn read(self, word: u64) -> Option<(PathSlot, bool)> {
        let slot = (word & (Self::SAID - 1)) >> 1;
        if !self.is_own(word) || slot >= abi::MAX_PATHS as u64 {
            return None;
        }
        Some((PathSlot(slot as u32), word & 1 == 1))
    }
}

/// An address as two words.
#[inline(always)]
#[expect(clippy::inline_always, reason = "as above")]
pub const fn halves(address: [u8; 16]) -> [u64; 2] {
    let bits = u128::from_ne_bytes(address);
    #[expect(clippy::cast_possible_truncation, reason = "the other half stands beside it")]
    let lower = bits as u64;
    [(bits >> 64) as u64, lower]
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: End = ([1; 16], 40_000);
    const GATEWAY: End = ([2; 16], 443);

    #[test]
    fn a_word_is_read_by_its_connection_alone() {
        let flow = FlowPath::of(CLIENT, GATEWAY);
        for (path, permitted) in [(PathSlot::NONE, false), (PathSlot(16_383), true)] {
            let word = flow.word(path, permitted);
            assert_eq!(flow.read(word), Some((path, permitted)));
            for other in [
                FlowPath::of((CLIENT.0, 40_001), GATEWAY),
                FlowPath::of(([3; 16], CLIENT.1), GATEWAY),
                FlowPath::of(CLIENT, (GATEWAY.0, 80)),
                FlowPath::of(CLIENT, ([3; 16], GATEWAY.1)),
                FlowPath::of(GATEWAY, CLIENT),
            ] {
                assert_eq!(other.read(word), None, "{other:?}");
            }
        }
        assert_eq!(flow.read(0), None, "nothing was said");
        assert_eq!(flow.read(flow.word(PathSlot(abi::MAX_PATHS), true)), None, "out of range");
    }

    #[test]
    fn connections_are_spread_over_the_rows() {
        let mut rows = [0_u64; FlowPath::ROWS as usize / 64];
        let taken = (0..200_u8).flat_map(|host| (0..100).map(move |port| (host, 40_000 + port)));
        for (host, port) in taken {
            let mut address = [0; 16];
            address[15] = host;
            let row = FlowPath::of((address, port), GATEWAY).row;
            rows[row as usize / 64] |= 1 << (row % 64);
        }
        // 20,000 at random among 131,072 rows leave 18,557 taken.
        let taken: u32 = rows.iter().map(|row| row.count_ones()).sum();
        assert!((18_200..18_900).contains(&taken), "{taken}");
    }
}
