//! Is an (address, port) a Gateway listener's?

use gateway_common::steering::{Family, GatewayPort, GatewayPortEntry, PortFilter, PortFirst};
use gateway_ebpf::parse::Segment;

use crate::maps::{GATEWAY_PORTS, PORT_FILTER, PORT_FIRST};

/// A gateway port that was found.
pub(crate) struct Port {
    /// Its entry.
    pub(crate) entry: &'static GatewayPortEntry,
    /// It was found by its own address, not by the unspecified one.
    pub(crate) named: bool,
}

/// The gateway port that a segment is for.
#[inline(always)]
pub(crate) fn destination(segment: &Segment) -> Option<Port> {
    find(segment.family, segment.destination, segment.destination_port)
}

/// The gateway port that a segment is from.
#[inline(always)]
pub(crate) fn source(segment: &Segment) -> Option<Port> {
    find(segment.family, segment.source, segment.source_port)
}

#[inline(always)]
fn find(family: Family, address: [u8; 16], port: u16) -> Option<Port> {
    let PortFilter { row, shift } = PortFilter::of(port);
    let bits = *PORT_FILTER.get(row)? >> shift & PortFilter::MASK;
    if bits == 0 {
        return None;
    }
    let mut key = GatewayPort { address, port: first(port), family: family.number() };
    if bits & PortFilter::NAMED_ADDRESS != 0
        && let Some(entry) = entry(&key)
    {
        return Some(Port { entry, named: true });
    }
    if bits & PortFilter::ANY_ADDRESS == 0 {
        return None;
    }
    key.address = unspecified(family);
    entry(&key).map(|entry| Port { entry, named: false })
}

/// The port by which its range is known.
#[inline(always)]
fn first(port: u16) -> u16 {
    let PortFirst { row, shift } = PortFirst::of(port);
    #[expect(clippy::cast_possible_truncation, reason = "masked to sixteen bits")]
    let first = PORT_FIRST.get(row).map_or(0, |row| *row >> shift & PortFirst::MASK) as u16;
    if first == 0 { port } else { first }
}

#[inline(always)]
fn entry(key: &GatewayPort) -> Option<&'static GatewayPortEntry> {
    // SAFETY: only the daemon writes entries, and the kernel frees one no earlier than the program
    // has ended (RCU); a value that changes meanwhile is still a listener and a worker count.
    unsafe { GATEWAY_PORTS.get(key) }
}

/// The unspecified address, written as the daemon writes it.
#[inline(always)]
fn unspecified(family: Family) -> [u8; 16] {
    match family {
        Family::V4 => [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0],
        Family::V6 => [0; 16],
    }
}
