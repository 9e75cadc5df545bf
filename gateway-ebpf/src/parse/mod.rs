//! From bytes to a TCP segment's addresses and ports.
//!
//! Ethernet, up to two VLAN tags (IEEE 802.1Q), IPv4 with options (RFC 791), IPv6 with up to six
//! extension headers (RFC 8200), TCP (RFC 9293). Everything is read through [`Bytes`], which
//! checks bounds: on the host a slice, in the kernel the packet.

use gateway_common::steering::Family;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;

const NEXT_HOP_BY_HOP: u8 = 0;
const NEXT_TCP: u8 = 6;
const NEXT_ROUTING: u8 = 43;
const NEXT_FRAGMENT: u8 = 44;
const NEXT_AUTHENTICATION: u8 = 51;
const NEXT_DESTINATION: u8 = 60;

const VLAN_TAGS: usize = 2;
const EXTENSION_HEADERS: usize = 6;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;
/// Where the source address stands; the destination's is behind it.
const IPV4_SOURCE: usize = 12;
const IPV6_SOURCE: usize = 8;

/// Bytes that can be read at any offset, if they are there.
pub trait Bytes {
    /// The `N` bytes from `offset` on; none beyond the end.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// What [`extensions`] finds. Few packets have any, so that whoever likes can walk them in a
    /// place of their own.
    #[inline(always)]
    fn behind_extensions(&self, next: u8, offset: usize) -> Option<(u8, usize)> {
        extensions(self, next, offset)
    }
}

impl Bytes for [u8] {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }
}

/// What a packet is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Parsed {
    /// A TCP segment, whole.
    Tcp(Headers),
    /// Some other protocol.
    Other,
    /// A fragment of an IP packet.
    Fragment,
    /// Truncated, malformed, or deeper than we look.
    Unparsed,
}

/// What a TCP segment's headers say, but for the addresses: most packets of a node are for no gateway
/// port, and never need those.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Headers {
    /// Its address family.
    pub family: Family,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// The flags octet.
    pub flags: u8,
    /// Offset of the IP header.
    pub network: usize,
    /// Offset of the TCP header.
    pub transport: usize,
    /// Offset of the payload.
    pub payload: usize,
}

impl Headers {
    /// The segment with its addresses, read from the same packet.
    #[inline(always)]
    pub fn segment<B: Bytes + ?Sized>(self, packet: &B) -> Option<Segment> {
        let (source, destination) = match self.family {
            Family::V4 => (
                mapped(packet.read(self.network + IPV4_SOURCE)?),
                mapped(packet.read(self.network + IPV4_SOURCE + 4)?),
            ),
            Family::V6 => (
                packet.read(self.network + IPV6_SOURCE)?,
                packet.read(self.network + IPV6_SOURCE + 16)?,
            ),
        };
        Some(Segment { headers: self, source, destination })
    }
}

/// A TCP segment's headers and addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Segment {
    /// All but the addresses.
    pub headers: Headers,
    /// Source address, IPv4 as IPv4-mapped IPv6.
    pub source: [u8; 16],
    /// Destination address, likewise.
    pub destination: [u8; 16],
}

/// Reads a packet that begins with its Ethernet header.
#[inline(always)]
pub fn parse<B: Bytes + ?Sized>(packet: &B) -> Parsed {
    ethernet(packet).unwrap_or(Parsed::Unparsed)
}

#[inline(always)]
fn ethernet<B: Bytes + ?Sized>(packet: &B) -> Option<Parsed> {
    let mut offset = 12;
    let mut ethertype = u16::from_be_bytes(packet.read(offset)?);
    for _ in 0..VLAN_TAGS {
        if !is_vlan(ethertype) {
            break;
        }
        offset += 4;
        ethertype = u16::from_be_bytes(packet.read(offset)?);
    }
    offset += 2;
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(packet, offset),
        ETHERTYPE_IPV6 => ipv6(packet, offset),
        _ if is_vlan(ethertype) => None,
        _ => Some(Parsed::Other),
    }
}

#[inline(always)]
fn is_vlan(ethertype: u16) -> bool {
    ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_SERVICE_VLAN
}

#[inline(always)]
fn ipv4<B: Bytes + ?Sized>(packet: &B, network: usize) -> Option<Parsed> {
    // Read at once: one look at the bounds.
    let fixed: [u8; IPV4_HEADER] = packet.read(network)?;
    let header = usize::from(fixed[0] & 0x0f) * 4;
    if fixed[0] >> 4 != 4 || header < IPV4_HEADER {
        return None;
    }
    let total = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    // More fragments, or an offset. Not the unused bit, not "don't fragment".
    if u16::from_be_bytes([fixed[6], fixed[7]]) & 0x3fff != 0 {
        return Some(Parsed::Fragment);
    }
    if fixed[9] != NEXT_TCP {
        return Some(Parsed::Other);
    }
    // A total of zero is a batch beyond 64 KiB (BIG TCP).
    if total != 0 && total < header + TCP_HEADER {
        return None;
    }
    tcp(packet, network, network + header, Family::V4)
}

#[inline(always)]
fn ipv6<B: Bytes + ?Sized>(packet: &B, network: usize) -> Option<Parsed> {
    let fixed: [u8; IPV6_HEADER] = packet.read(network)?;
    if fixed[0] >> 4 != 6 {
        return None;
    }
    let (mut next, mut offset) = (fixed[6], network + IPV6_HEADER);
    if is_extension(next) {
        (next, offset) = packet.behind_extensions(next, offset)?;
    }
    match next {
        NEXT_TCP => tcp(packet, network, offset, Family::V6),
        NEXT_FRAGMENT => Some(Parsed::Fragment),
        _ if is_extension(next) => None,
        _ => Some(Parsed::Other),
    }
}

#[inline(always)]
fn is_extension(next: u8) -> bool {
    matches!(next, NEXT_HOP_BY_HOP | NEXT_ROUTING | NEXT_DESTINATION | NEXT_AUTHENTICATION)
}

/// Walks the extension headers of IPv6 from `offset` on, of which `next` is the first. Answers the
/// protocol that follows, or the next extension header after as many as we look at, and where it
/// begins.
#[inline(always)]
pub fn extensions<B: Bytes + ?Sized>(
    packet: &B,
    mut next: u8,
    mut offset: usize,
) -> Option<(u8, usize)> {
    for _ in 0..EXTENSION_HEADERS {
        let unit = match next {
            NEXT_HOP_BY_HOP | NEXT_ROUTING | NEXT_DESTINATION => 8,
            // Its length counts words of four, less two (RFC 4302).
            NEXT_AUTHENTICATION => 4,
            _ => break,
        };
        let [following, length] = packet.read(offset)?;
        let length = usize::from(length);
        offset += if unit == 4 { (length + 2) * 4 } else { (length + 1) * 8 };
        next = following;
    }
    Some((next, offset))
}

#[inline(always)]
fn tcp<B: Bytes + ?Sized>(
    packet: &B,
    network: usize,
    transport: usize,
    family: Family,
) -> Option<Parsed> {
    // Of the fixed header some is not needed, but it must be there whole.
    let fixed: [u8; TCP_HEADER] = packet.read(transport)?;
    let header = usize::from(fixed[12] >> 4) * 4;
    if header < TCP_HEADER {
        return None;
    }
    Some(Parsed::Tcp(Headers {
        family,
        source_port: u16::from_be_bytes([fixed[0], fixed[1]]),
        destination_port: u16::from_be_bytes([fixed[2], fixed[3]]),
        flags: fixed[13],
        network,
        transport,
        payload: transport + header,
    }))
}

#[inline(always)]
fn mapped(address: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = address;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

#[cfg(test)]
mod tests;
