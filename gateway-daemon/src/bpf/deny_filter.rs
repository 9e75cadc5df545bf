//! `DENY_FILTER`: where denied prefixes may be, so that the trie is asked of few sources.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering::Relaxed;

use gateway_common::bans::DenyFilter;

use crate::model::policy::Cidr;
use crate::sys::mmap::Mapping;

/// The rows for these blocks.
pub(super) fn bits(blocks: &[Cidr]) -> Vec<u64> {
    let mut rows = vec![0; DenyFilter::ROWS as usize];
    for block in blocks {
        mark(&mut rows, block.canonical());
    }
    rows
}

/// Adds bits to those that are there.
pub(super) fn add(map: &Mapping, bits: &[u64]) {
    for (word, &more) in map.words().iter().zip(bits) {
        word.fetch_or(more, Relaxed);
    }
}

/// Sets exactly these.
pub(super) fn set(map: &Mapping, bits: &[u64]) {
    for (word, &exact) in map.words().iter().zip(bits) {
        word.store(exact, Relaxed);
    }
}

fn mark(rows: &mut [u64], block: Cidr) {
    match block.address() {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            for first in spread(u16::from_be_bytes([a, b]), block.prefix()) {
                put(rows, DenyFilter::v4(first));
            }
        }
        IpAddr::V6(address) => {
            let [first, second, ..] = address.segments();
            // Folded, a block that leaves the first sixteen bits open may be anywhere.
            let second = match block.prefix().checked_sub(16) {
                Some(prefix) => spread(second, prefix),
                None => spread(0, 0),
            };
            for second in second {
                put(rows, DenyFilter::v6(first, second));
            }
        }
    }
}

/// The numbers that share so many first bits with this one.
fn spread(number: u16, prefix: u8) -> RangeInclusive<u16> {
    let open = u32::from(16_u8.saturating_sub(prefix));
    let mask = u16::MAX.checked_shl(open).unwrap_or(0);
    number & mask..=number | !mask
}

fn put(rows: &mut [u64], DenyFilter { row, shift }: DenyFilter) {
    rows[row as usize] |= 1 << shift;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(blocks: &[&str]) -> Vec<u64> {
        let blocks: Vec<_> = blocks.iter().map(|block| Cidr::parse(block).unwrap()).collect();
        bits(&blocks)
    }

    fn has(rows: &[u64], address: &str) -> bool {
        let DenyFilter { row, shift } = match address.parse().unwrap() {
            IpAddr::V4(address) => {
                let [a, b, ..] = address.octets();
                DenyFilter::v4(u16::from_be_bytes([a, b]))
            }
            IpAddr::V6(address) => DenyFilter::v6(address.segments()[0], address.segments()[1]),
        };
        rows[row as usize] >> shift & 1 == 1
    }

    #[test]
    fn every_denied_source_is_marked_and_few_others() {
        let table: [(&str, &[&str], &[&str], u32); 9] = [
            ("192.0.2.0/24", &["192.0.2.1", "192.0.9.9"], &["192.1.0.0", "191.255.0.0"], 1),
            ("10.0.0.0/8", &["10.0.0.0", "10.255.255.255"], &["9.255.0.0", "11.0.0.0"], 256),
            ("10.1.128.0/15", &["10.0.0.1", "10.1.0.1"], &["10.2.0.0"], 2),
            ("0.0.0.0/0", &["0.0.0.0", "255.255.255.255"], &["::"], 65_536),
            ("2001:db8:1::/48", &["2001:db8:1::1"], &["2001:db9::", "1.1.1.1"], 1),
            ("2001:db8::/29", &["2001:db8::", "2001:dbf::1"], &["2001:dc0::"], 8),
            ("2001::/16", &["2001:db8::1", "2001:ffff::"], &["10.0.0.1"], 65_536),
            ("2000::/3", &["2001:db8::1", "3fff::"], &["10.0.0.1"], 65_536),
            ("::ffff:198.51.100.0/120", &["198.51.100.7"], &["198.52.0.0"], 1),
        ];
        for (block, inside, outside, marked) in table {
            let rows = rows(&[block]);
            for address in inside {
                assert!(has(&rows, address), "{block}: {address}");
            }
            for address in outside {
                assert!(!has(&rows, address), "{block}: {address}");
            }
            assert_eq!(rows.iter().map(|row| row.count_ones()).sum::<u32>(), marked, "{block}");
        }
    }
}
