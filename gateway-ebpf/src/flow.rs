//! Which worker takes a connection.

use gateway_common::flow::{halves, mix};

use crate::parse::{Headers, Segment};

/// The worker of a connection, below `workers`: the same for every segment of it, and not to be
/// foreseen without the seed.
#[inline(always)]
pub fn worker(segment: &Segment, workers: u32, seed: u64) -> u32 {
    let [a, b] = halves(segment.source);
    let Headers { source_port, destination_port, .. } = segment.headers;
    let ports = u64::from(source_port) << 16 | u64::from(destination_port);
    let hash = mix(seed, [a, b, ports]);
    // The upper half, scaled down: no division, and every worker equally likely.
    (((hash >> 32) * u64::from(workers)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use gateway_common::steering::Family;

    use super::*;

    fn segment(address: u8, port: u16) -> Segment {
        let headers = Headers {
            family: Family::V4,
            source_port: port,
            destination_port: 8_080,
            flags: 0,
            network: 14,
            transport: 34,
            payload: 54,
        };
        Segment { headers, source: [address; 16], destination: [1; 16] }
    }

    #[test]
    fn workers_share_evenly_over_ports_and_over_addresses() {
        for workers in [1, 2, 3, 7, 64] {
            let mut by_port = [0_u32; 64];
            let mut by_address = [0_u32; 64];
            for n in 0..=255_u8 {
                for port in 0..40 {
                    let port = 30_000 + port;
                    by_port[worker(&segment(9, port + u16::from(n) * 40), workers, 5) as usize] +=
                        1;
                    by_address[worker(&segment(n, port), workers, 5) as usize] += 1;
                }
            }
            let fair = 256 * 40 / workers;
            for share in by_port.iter().chain(&by_address).filter(|&&share| share > 0) {
                assert!(share.abs_diff(fair) < fair / 3 + 1, "{workers}: {share} of {fair}");
            }
            assert_eq!(by_port.iter().filter(|&&share| share > 0).count(), workers as usize);
        }
    }

    #[test]
    fn the_seed_decides_and_flags_do_not() {
        let one = segment(1, 40_000);
        let headers = Headers { flags: 0x10, payload: 60, ..one.headers };
        let other = Segment { headers, ..one };
        assert_eq!(worker(&one, 64, 7), worker(&other, 64, 7));
        assert!((0..100).any(|seed| worker(&one, 64, seed) != worker(&one, 64, 7)));
    }
}
