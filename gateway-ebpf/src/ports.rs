//! Is an (address, port) a Gateway listener's?

use gateway_common::steering::{GatewayPort, GatewayPortEntry, PortFilter, PortFirst};
use gateway_ebpf::parse::{Headers, Segment};

use crate::maps::{GATEWAY_PORTS, PORT_ENTRIES, PORT_FILTER, PORT_FIRST};
use crate::packet::Frame;

/// A segment for a gateway port, or from one.
pub(crate) struct Found {
    /// The segment.
    pub(crate) segment: Segment,
    /// The port's entry.
    pub(crate) entry: &'static GatewayPortEntry,
    /// It was found by its own address, not by the unspecified one.
    pub(crate) named: bool,
}

/// The gateway port that a segment is for.
#[inline(always)]
pub(crate) fn destination(frame: &Frame, headers: &Headers) -> Option<Found> {
    let bits = bits(headers.destination_port)?;
    let segment = headers.segment(frame)?;
    find(segment, bits, segment.destination, headers.destination_port)
}

/// The gateway port that a segment is from.
#[inline(always)]
pub(crate) fn source(frame: &Frame, headers: &Headers) -> Option<Found> {
    let bits = bits(headers.source_port)?;
    let segment = headers.segment(frame)?;
    find(segment, bits, segment.source, headers.source_port)
}

/// The bits of a port; none if it is no gateway port. Asked first: of most packets it is none.
#[inline(always)]
pub(crate) fn bits(port: u16) -> Option<u64> {
    let PortFilter { row, shift } = PortFilter::of(port);
    let bits = *PORT_FILTER.get(row)? >> shift & PortFilter::MASK;
    if bits == 0 { None } else { Some(bits) }
}

#[inline(always)]
fn find(segment: Segment, bits: u64, address: [u8; 16], port: u16) -> Option<Found> {
    if bits & PortFilter::NAMED_ADDRESS != 0 {
        let family = segment.headers.family.number();
        if let Some(entry) = entry(&GatewayPort { address, port: first(port), family }) {
            return Some(Found { segment, entry, named: true });
        }
    }
    if bits & PortFilter::ANY_ADDRESS == 0 {
        return None;
    }
    // As `GATEWAY_PORTS` has it for the unspecified address, without a hash.
    let entry = PORT_ENTRIES.get(port.into())?;
    Some(Found { segment, entry, named: false })
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
