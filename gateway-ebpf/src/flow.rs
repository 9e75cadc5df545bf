//! Which worker takes a connection.

use crate::parse::Segment;

/// An odd constant with well-spread bits (the 64-bit golden ratio).
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// The worker of a connection, below `workers`: the same for every segment of it, and not to be
/// foreseen without the seed.
#[inline(always)]
pub fn worker(segment: &Segment, workers: u32, seed: u64) -> u32 {
    let (a, b) = halves(segment.source);
    let ports = u64::from(segment.source_port) << 16 | u64::from(segment.destination_port);
    let mut hash = seed;
    for word in [a, b, ports] {
        hash = (hash ^ word).wrapping_mul(MIX);
        hash ^= hash >> 32;
    }
    hash = hash.wrapping_mul(MIX);
    // The upper half, scaled down: no division, and every worker equally likely.
    (((hash >> 32) * u64::from(workers)) >> 32) as u32
}

#[inline(always)]
fn halves(address: [u8; 16]) -> (u64, u64) {
    let bits = u128::from_ne_bytes(address);
    #[expect(clippy::cast_possible_truncation, reason = "the other half stands beside it")]
    let lower = bits as u64;
    ((bits >> 64) as u64, lower)
}
