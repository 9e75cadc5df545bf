//! Rows of counters. One writer per row (or, for packet rows, one CPU); every field an aligned
//! u64, so a reader may see fields of different instants but never half a number.

use crate::{abi, hook::Hook, path::PathSlot};

/// Packets and bytes of one verdict.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(C)]
pub struct Volume {
    /// Packets.
    pub packets: u64,
    /// Bytes, link-layer header included.
    pub bytes: u64,
}

/// One row of `PACKET_COUNTERS`: what one CPU saw at one hook for one listener.
///
/// `seen` equals the sum of the verdicts, field by field.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(C, align(64))]
pub struct PacketCounters {
    /// Everything that reached the hook.
    pub seen: Volume,
    /// Verdict [`crate::verdict::PacketVerdict::Other`].
    pub other: Volume,
    /// Verdict [`crate::verdict::PacketVerdict::Passed`].
    pub passed: Volume,
    /// Verdict [`crate::verdict::PacketVerdict::Steered`].
    pub steered: Volume,
    /// Verdict [`crate::verdict::PacketVerdict::Established`].
    pub established: Volume,
    /// Verdict [`crate::verdict::PacketVerdict::DeniedSource`].
    pub denied_source: Volume,
    /// Verdict [`crate::verdict::PacketVerdict::Unparsed`].
    pub unparsed: Volume,
    /// Verdict [`crate::verdict::PacketVerdict::Fragment`].
    pub fragment: Volume,
    /// Verdict [`crate::verdict::PacketVerdict::NoListener`].
    pub no_listener: Volume,
    /// Zero; fills the row to a multiple of 64 bytes.
    pub reserved: [u64; 6],
}

/// Rows of `PACKET_COUNTERS` that belong to one CPU.
pub const PACKET_ROWS_PER_CPU: u32 = 3 * abi::MAX_LISTENERS;

/// Number of the row in `PACKET_COUNTERS` for (CPU, hook, listener slot). The map is made with
/// [`PACKET_ROWS_PER_CPU`] rows per possible CPU.
pub const fn packet_row(cpu: u32, hook: Hook, listener: u32) -> u32 {
    cpu * PACKET_ROWS_PER_CPU + (hook as u32) * abi::MAX_LISTENERS + listener
}

/// One row of `REQUEST_COUNTERS`: what one worker answered for one path.
///
/// `requests` equals the sum of the ten verdicts. The connection fields are used in the rows of
/// slot 0 only: `connections` equals `connections_refused + handshakes_failed + connections_served`
/// once every connection is closed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(C, align(64))]
pub struct RequestCounters {
    /// Requests with a final verdict.
    pub requests: u64,
    /// Verdict `allowed`.
    pub allowed: u64,
    /// Verdict `unauthenticated`.
    pub unauthenticated: u64,
    /// Verdict `denied`.
    pub denied: u64,
    /// Verdict `not_found`.
    pub not_found: u64,
    /// Verdict `bad_request`.
    pub bad_request: u64,
    /// Verdict `limited`.
    pub limited: u64,
    /// Verdict `upstream_error`.
    pub upstream_error: u64,
    /// Verdict `upstream_timeout`.
    pub upstream_timeout: u64,
    /// Verdict `no_backend`.
    pub no_backend: u64,
    /// Verdict `aborted`.
    pub aborted: u64,
    /// Bytes of request bodies read from clients.
    pub request_bytes: u64,
    /// Bytes of response bodies handed to clients.
    pub response_bytes: u64,
    /// Connections accepted (slot 0).
    pub connections: u64,
    /// Connections closed at once for a connection limit (slot 0).
    pub connections_refused: u64,
    /// Connections whose TLS handshake failed or timed out (slot 0).
    pub handshakes_failed: u64,
    /// Connections served and closed (slot 0).
    pub connections_served: u64,
    /// Zero; fills the row to a multiple of 64 bytes.
    pub reserved: [u64; 7],
}

/// Number of the row in `REQUEST_COUNTERS` for (path slot, worker).
///
/// The rows of one worker stand together, so that one worker's hot rows share no cache line and
/// few pages with another's. The map is made with [`abi::MAX_PATHS`] rows per worker.
pub const fn request_row(path: PathSlot, worker: u32) -> u32 {
    worker * abi::MAX_PATHS + path.0
}

/// One row of `WIRE_COUNTERS`: what TC egress saw leave for one (path, verdict mark), by CPU group.
/// Written by the kernel half alone. Approximate: attributed when (re)transmitted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(C)]
pub struct WireCounters {
    /// Packets sent to clients, permitted answers.
    pub allowed: Volume,
    /// Packets sent to clients, refusals and errors.
    pub refused: Volume,
}
