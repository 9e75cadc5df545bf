//! Which addresses keys may be fetched from. Checked after resolution, and the address that was
//! checked is the one connected to, so that no name server can lead the gateway into its own
//! network (server-side request forgery).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is to the guard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reach {
    /// Anybody's.
    Public,
    /// This machine's or this network's: only if allowed.
    Private,
    /// Nobody's that serves keys: link-local, metadata services, multicast and the like.
    Never,
}

/// Metadata services of clouds outside the link-local range.
const METADATA_V4: [Ipv4Addr; 3] = [
    // Azure's virtual machine host.
    Ipv4Addr::new(168, 63, 129, 16),
    // Alibaba Cloud.
    Ipv4Addr::new(100, 100, 100, 200),
    // Oracle Cloud.
    Ipv4Addr::new(192, 0, 0, 192),
];
/// Amazon EC2's, and Google's.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// Whether keys may be fetched from an address.
pub(super) fn allows(address: IpAddr, allow_private: bool) -> bool {
    match reach(address) {
        Reach::Public => true,
        Reach::Private => allow_private,
        Reach::Never => false,
    }
}

/// What an address is (IANA special-purpose registries, RFC 6890).
pub(super) fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    }
}

fn v4(address: Ipv4Addr) -> Reach {
    let [a, b, c, _] = address.octets();
    let never = a == 0
        || address.is_link_local()
        || address.is_multicast()
        || a >= 240
        || METADATA_V4.contains(&address);
    let private = address.is_loopback()
        || address.is_private()
        || address.is_documentation()
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19));
    match (never, private) {
        (true, _) => Reach::Never,
        (false, true) => Reach::Private,
        (false, false) => Reach::Public,
    }
}

fn v6(address: Ipv6Addr) -> Reach {
    if let Some(inner) = embedded(address) {
        return v4(inner);
    }
    let [first, second, ..] = address.segments();
    let never = address.is_unspecified()
        || address.is_unicast_link_local()
        || address.is_multicast()
        || METADATA_V6.contains(&address);
    let private = address.is_loopback()
        || address.is_unique_local()
        || first & 0xffc0 == 0xfec0
        || (first == 0x2001 && second == 0xdb8);
    match (never, private) {
        (true, _) => Reach::Never,
        (false, true) => Reach::Private,
        (false, false) => Reach::Public,
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped, compatible, NAT64 (RFC 6052, RFC
/// 8215) or 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let from = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        // `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0 | 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => Some(from(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        use Reach::{Never, Private, Public};
        for (text, expected) in [
            ("93.184.216.34", Public),
            ("2606:2800:220:1::1", Public),
            ("127.0.0.1", Private),
            ("127.255.0.1", Private),
            ("10.1.2.3", Private),
            ("172.16.0.1", Private),
            ("172.32.0.1", Public),
            ("192.168.1.1", Private),
            ("100.64.0.1", Private),
            ("198.18.0.1", Private),
            ("192.0.0.1", Private),
            ("::1", Private),
            ("fd12::1", Private),
            ("fec0::1", Private),
            ("169.254.169.254", Never),
            ("169.254.0.1", Never),
            ("168.63.129.16", Never),
            ("100.100.100.200", Never),
            ("192.0.0.192", Never),
            ("fd00:ec2::254", Never),
            ("fe80::1", Never),
            ("0.0.0.0", Never),
            ("0.1.2.3", Never),
            ("::", Never),
            ("224.0.0.1", Never),
            ("ff02::1", Never),
            ("255.255.255.255", Never),
            ("250.0.0.1", Never),
            ("::ffff:169.254.169.254", Never),
            ("::ffff:127.0.0.1", Private),
            ("::ffff:93.184.216.34", Public),
            ("::127.0.0.1", Private),
            ("64:ff9b::a9fe:a9fe", Never),
            ("64:ff9b:1::a00:1", Private),
            ("2002:7f00:1::", Private),
        ] {
            assert_eq!(reach(text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn private_addresses_need_permission_and_others_never_get_it() {
        let allowed = |text: &str, private| allows(text.parse().unwrap(), private);
        assert!(allowed("1.1.1.1", false) && allowed("10.0.0.1", true));
        assert!(!allowed("10.0.0.1", false) && !allowed("169.254.169.254", true));
    }
}
