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

/// Bytes that can be read at any offset, if they are there.
pub trait Bytes {
    /// The `N` bytes from `offset` on; none beyond the end.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
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
    Tcp(Segment),
    /// Some other protocol.
    Other,
    /// A fragment of an IP packet.
    Fragment,
    /// Truncated, malformed, or deeper than we look.
    Unparsed,
}

/// A TCP segment's headers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Segment {
    /// Its address family.
    pub family: Family,
    /// Source address, IPv4 as IPv4-mapped IPv6.
    pub source: [u8; 16],
    /// Destination address, likewise.
    pub destination: [u8; 16],
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
    let [version_and_length] = packet.read(network)?;
    let header = usize::from(version_and_length & 0x0f) * 4;
    if version_and_length >> 4 != 4 || header < IPV4_HEADER {
        return None;
    }
    let total = usize::from(u16::from_be_bytes(packet.read(network + 2)?));
    // More fragments, or an offset. Not the unused bit, not "don't fragment".
    let fragment = u16::from_be_bytes(packet.read(network + 6)?) & 0x3fff != 0;
    let [protocol] = packet.read(network + 9)?;
    let source = mapped(packet.read(network + 12)?);
    let destination = mapped(packet.read(network + 16)?);
    if fragment {
        return Some(Parsed::Fragment);
    }
    if protocol != NEXT_TCP {
        return Some(Parsed::Other);
    }
    // A total of zero is a batch beyond 64 KiB (BIG TCP).
    if total != 0 && total < header + TCP_HEADER {
        return None;
    }
    tcp(packet, network, network + header, Family::V4, source, destination)
}

#[inline(always)]
fn ipv6<B: Bytes + ?Sized>(packet: &B, network: usize) -> Option<Parsed> {
    let [version] = packet.read(network)?;
    if version >> 4 != 6 {
        return None;
    }
    let [mut next] = packet.read(network + 6)?;
    let source = packet.read(network + 8)?;
    let destination = packet.read(network + 24)?;
    let mut offset = network + IPV6_HEADER;
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
    match next {
        NEXT_TCP => tcp(packet, network, offset, Family::V6, source, destination),
        NEXT_FRAGMENT => Some(Parsed::Fragment),
        NEXT_HOP_BY_HOP | NEXT_ROUTING | NEXT_DESTINATION | NEXT_AUTHENTICATION => None,
        _ => Some(Parsed::Other),
    }
}

#[inline(always)]
fn tcp<B: Bytes + ?Sized>(
    packet: &B,
    network: usize,
    transport: usize,
    family: Family,
    source: [u8; 16],
    destination: [u8; 16],
) -> Option<Parsed> {
    let [a, b, c, d] = packet.read(transport)?;
    let [length, flags] = packet.read(transport + 12)?;
    // Checksum and urgent pointer: not needed, but the fixed header must be there whole.
    packet.read::<4>(transport + 16)?;
    let header = usize::from(length >> 4) * 4;
    if header < TCP_HEADER {
        return None;
    }
    Some(Parsed::Tcp(Segment {
        family,
        source,
        destination,
        source_port: u16::from_be_bytes([a, b]),
        destination_port: u16::from_be_bytes([c, d]),
        flags,
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
