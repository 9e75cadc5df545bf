//! The ports of a listener: one, or a range.

use std::fmt;

/// Ports that a listener has; at least one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Why a text is not a range of ports.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a range of ports: use FIRST-LAST, such as \"8000-8999\"")]
pub struct InvalidRange(String);

impl PortRange {
    /// One port.
    pub const fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// Reads `FIRST-LAST`, both included, both from 1 on.
    pub fn parse(text: &str) -> Result<Self, InvalidRange> {
        let number = |digits: &str| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u16>().ok().filter(|&port| plain && port > 0)
        };
        text.split_once('-')
            .and_then(|(first, last)| Some((number(first)?, number(last)?)))
            .filter(|(first, last)| first <= last)
            .map(|(first, last)| Self { first, last })
            .ok_or_else(|| InvalidRange(text.to_owned()))
    }

    /// The first port, by which the range is known.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// Every port.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }

    /// Whether a port is one of them.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Whether two ranges have a port in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl From<u16> for PortRange {
    fn from(port: u16) -> Self {
        Self::one(port)
    }
}

/// `8080`, or `8000-8999`.
impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return write!(f, "{}", self.first);
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ranges_and_nothing_else() {
        let range = PortRange::parse("8000-8999").unwrap();
        assert_eq!((range.first(), range.iter().count()), (8000, 1000));
        assert_eq!(range.to_string(), "8000-8999");
        assert_eq!(PortRange::parse("80-80"), Ok(PortRange::one(80)));
        assert_eq!(PortRange::parse("1-65535").unwrap().iter().count(), 65_535);
        for text in ["", "80", "-", "80-", "-80", "0-9", "9-8", "1-65536", "+1-2", " 1-2", "1--2"] {
            assert!(PortRange::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn knows_what_it_shares() {
        let range = |text| PortRange::parse(text).unwrap();
        for (a, b, shared) in [
            ("1-5", "5-9", true),
            ("1-5", "6-9", false),
            ("1-9", "4-5", true),
            ("4-4", "4-4", true),
        ] {
            assert_eq!(range(a).overlaps(range(b)), shared, "{a} {b}");
            assert_eq!(range(b).overlaps(range(a)), shared, "{b} {a}");
        }
        assert!(range("4-6").contains(6) && !range("4-6").contains(7));
    }
}
