//! What a ban is about: a source of packets.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gateway_common::bans::BanMode;

use super::policy::Cidr;

/// Bits of an IPv6 address that name a source: a host has a /64 to itself and can move about in it.
const IPV6_PREFIX: u8 = 64;

/// What is done about banned sources.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BanModes {
    /// In force.
    pub now: BanMode,
    /// As the operator asked; another where enforcing is suspended.
    pub wanted: BanMode,
}

/// New connections that a source may open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// In the long run; at least 1.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

/// Budgets of new connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SynBudget {
    /// Of each source.
    pub each: Rate,
    /// On top, of one that presented a good token lately.
    pub earned: Rate,
}

/// A source of packets: an IPv4 address, or an IPv6 /64.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Source {
    /// One address.
    V4(Ipv4Addr),
    /// The first 64 bits of addresses.
    V6([u8; 8]),
}

/// Why a text is no source.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidSource {
    /// Not an address.
    #[error("{0:?} is not an IP address such as \"192.0.2.1\" or \"2001:db8::1\"")]
    Text(String),
    /// A block.
    #[error(
        "{0:?} is not one source: a ban takes an IPv4 address or an IPv6 /64; \
         `run --deny-source` takes blocks"
    )]
    Block(String),
}

impl Source {
    /// The source that an address belongs to.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                Self::V6(address.octets().first_chunk().copied().unwrap_or_default())
            }
        }
    }

    /// Reads an address, a /32 or a /64.
    pub fn parse(text: &str) -> Result<Self, InvalidSource> {
        let cidr = Cidr::parse(text).map_err(|_| InvalidSource::Text(text.to_owned()))?;
        let whole = match cidr.address() {
            IpAddr::V4(_) => cidr.prefix() == 32,
            // Without a length it is an address, and stands for its /64.
            IpAddr::V6(_) => [IPV6_PREFIX, 128].contains(&cidr.prefix()),
        };
        if whole {
            Ok(Self::of(cidr.address()))
        } else {
            Err(InvalidSource::Block(text.to_owned()))
        }
    }

    /// Whether an address belongs to it.
    pub fn contains(self, address: IpAddr) -> bool {
        Self::of(address) == self
    }

    /// Whether it has an address in common with a block.
    pub fn overlaps(self, block: Cidr) -> bool {
        let block = block.canonical();
        block.contains(self.first())
            || (block.prefix() >= IPV6_PREFIX && self.contains(block.address()))
    }

    /// Its first address.
    pub fn first(self) -> IpAddr {
        match self {
            Self::V4(address) => address.into(),
            Self::V6(prefix) => {
                let mut address = [0; 16];
                address[..8].copy_from_slice(&prefix);
                Ipv6Addr::from(address).into()
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(_) => write!(f, "{}/{IPV6_PREFIX}", self.first()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_or_an_ipv6_64_is_a_source() {
        let rows = [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1/32", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::/64", "2001:db8:1:2::/64"),
        ];
        for (text, shown) in rows {
            assert_eq!(Source::parse(text).unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_to_write() {
        let rows = [
            ("192.0.2.0/24", "--deny-source"),
            ("2001:db8::/32", "--deny-source"),
            ("2001:db8::/65", "--deny-source"),
            ("example.test", "192.0.2.1"),
            ("", "192.0.2.1"),
        ];
        for (text, hint) in rows {
            let error = Source::parse(text).unwrap_err().to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn a_block_inside_a_64_overlaps_it() {
        let rows = [
            ("192.0.2.1", "192.0.2.0/24", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.3.0/24", false),
            ("192.0.2.1", "::ffff:192.0.2.0/120", true),
            ("2001:db8::1", "2001:db8::/32", true),
            ("2001:db8::1", "2001:db8::7", true),
            ("2001:db8::1", "2001:db8::8000:0:0:0/66", true),
            ("2001:db8::1", "2001:db8:0:1::7", false),
            ("192.0.2.1", "2001:db8::/32", false),
        ];
        for (source, block, expected) in rows {
            let overlaps = Source::parse(source).unwrap().overlaps(Cidr::parse(block).unwrap());
            assert_eq!(overlaps, expected, "{source} and {block}");
        }
    }
}
