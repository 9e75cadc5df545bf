//! Rows of counters. One writer per row (or, for packet rows, one CPU); every field an aligned
//! u64, so a reader may see fields of different instants but never half a number.
//!
//! The maps are mapped into memory by the daemon, so a row is also readable as plain words;
//! `from_words` gives the words their names.

use crate::abi;
use crate::hook::Hook;
use crate::path::PathSlot;
use crate::verdict::{PacketVerdict, RequestVerdict};

/// Packets and bytes of one verdict.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(C)]
pub struct Volume {
    /// Packets as on the wire: a batch that the kernel carries as one counts as its segments.
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
    /// Verdict [`PacketVerdict::Other`].
    pub other: Volume,
    /// Verdict [`PacketVerdict::Passed`].
    pub passed: Volume,
    /// Verdict [`PacketVerdict::Steered`].
    pub steered: Volume,
    /// Verdict [`PacketVerdict::Established`].
    pub established: Volume,
    /// Verdict [`PacketVerdict::DeniedSource`].
    pub denied_source: Volume,
    /// Verdict [`PacketVerdict::Unparsed`].
    pub unparsed: Volume,
    /// Verdict [`PacketVerdict::Fragment`].
    pub fragment: Volume,
    /// Verdict [`PacketVerdict::NoListener`].
    pub no_listener: Volume,
    /// Verdict [`PacketVerdict::BannedSource`].
    pub banned_source: Volume,
    /// Verdict [`PacketVerdict::BanAudit`].
    pub ban_audit: Volume,
    /// Verdict [`PacketVerdict::SynLimited`].
    pub syn_limited: Volume,
    /// Zero; room for verdicts to come, and fills the row to a multiple of 64 bytes.
    pub reserved: [u64; 8],
}

impl PacketCounters {
    /// Words of a row.
    pub const WORDS: usize = size_of::<Self>() / 8;

    /// Gives the words of a row their names.
    pub const fn from_words(words: [u64; Self::WORDS]) -> Self {
        const fn volume(words: &[u64; PacketCounters::WORDS], word: usize) -> Volume {
            Volume { packets: words[word], bytes: words[word + 1] }
        }
        Self {
            seen: volume(&words, 0),
            other: volume(&words, Self::word(PacketVerdict::Other)),
            passed: volume(&words, Self::word(PacketVerdict::Passed)),
            steered: volume(&words, Self::word(PacketVerdict::Steered)),
            established: volume(&words, Self::word(PacketVerdict::Established)),
            denied_source: volume(&words, Self::word(PacketVerdict::DeniedSource)),
            unparsed: volume(&words, Self::word(PacketVerdict::Unparsed)),
            fragment: volume(&words, Self::word(PacketVerdict::Fragment)),
            no_listener: volume(&words, Self::word(PacketVerdict::NoListener)),
            banned_source: volume(&words, Self::word(PacketVerdict::BannedSource)),
            ban_audit: volume(&words, Self::word(PacketVerdict::BanAudit)),
            syn_limited: volume(&words, Self::word(PacketVerdict::SynLimited)),
            reserved: [0; 8],
        }
    }

    /// Word where a verdict's [`Volume`] begins.
    pub const fn word(verdict: PacketVerdict) -> usize {
        2 + 2 * (verdict as usize)
    }

    /// The volume of a verdict.
    pub const fn verdict(&self, verdict: PacketVerdict) -> Volume {
        match verdict {
            PacketVerdict::Other => self.other,
            PacketVerdict::Passed => self.passed,
            PacketVerdict::Steered => self.steered,
            PacketVerdict::Established => self.established,
            PacketVerdict::DeniedSource => self.denied_source,
            PacketVerdict::Unparsed => self.unparsed,
            PacketVerdict::Fragment => self.fragment,
            PacketVerdict::NoListener => self.no_listener,
            PacketVerdict::BannedSource => self.banned_source,
            PacketVerdict::BanAudit => self.ban_audit,
            PacketVerdict::SynLimited => self.syn_limited,
        }
    }
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
/// slot 0 only: `connections` equals the sum of refused, failed, served, lost and open ones.
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
    /// Connections open now (slot 0): the one field that also falls.
    pub connections_open: u64,
    /// Connections that were open when the row's writer was killed (slot 0).
    pub connections_lost: u64,
    /// Zero; fills the row to a multiple of 64 bytes.
    pub reserved: [u64; 5],
}

impl RequestCounters {
    /// Words of a row.
    pub const WORDS: usize = size_of::<Self>() / 8;

    /// Gives the words of a row their names.
    pub const fn from_words(words: [u64; Self::WORDS]) -> Self {
        let [
            requests,
            allowed,
            unauthenticated,
            denied,
            not_found,
            bad_request,
            limited,
            upstream_error,
            upstream_timeout,
            no_backend,
            aborted,
            request_bytes,
            response_bytes,
            connections,
            connections_refused,
            handshakes_failed,
            connections_served,
            connections_open,
            connections_lost,
            ..,
        ] = words;
        Self {
            requests,
            allowed,
            unauthenticated,
            denied,
            not_found,
            bad_request,
            limited,
            upstream_error,
            upstream_timeout,
            no_backend,
            aborted,
            request_bytes,
            response_bytes,
            connections,
            connections_refused,
            handshakes_failed,
            connections_served,
            connections_open,
            connections_lost,
            reserved: [0; 5],
        }
    }

    /// Requests that did not get the upstream's answer; each has a reason.
    pub const fn refused(&self) -> u64 {
        self.requests.wrapping_sub(self.allowed)
    }

    /// Word of a verdict.
    pub const fn word(verdict: RequestVerdict) -> usize {
        1 + verdict as usize
    }

    /// Requests with a verdict.
    pub const fn verdict(&self, verdict: RequestVerdict) -> u64 {
        match verdict {
            RequestVerdict::Allowed => self.allowed,
            RequestVerdict::Unauthenticated => self.unauthenticated,
            RequestVerdict::Denied => self.denied,
            RequestVerdict::NotFound => self.not_found,
            RequestVerdict::BadRequest => self.bad_request,
            RequestVerdict::Limited => self.limited,
            RequestVerdict::UpstreamError => self.upstream_error,
            RequestVerdict::UpstreamTimeout => self.upstream_timeout,
            RequestVerdict::NoBackend => self.no_backend,
            RequestVerdict::Aborted => self.aborted,
        }
    }
}

/// Number of the row in `REQUEST_COUNTERS` for (path slot, worker).
///
/// The rows of one worker stand together, so that one worker's hot rows share no cache line and
/// few pages with another's. The map is made with [`abi::MAX_PATHS`] rows per worker.
pub const fn request_row(path: PathSlot, worker: u32) -> u32 {
    worker * abi::MAX_PATHS + path.0
}

/// One row of `WIRE_COUNTERS`: what one CPU saw leave for one path at TC egress. Written by the
/// kernel half alone. Approximate: attributed when (re)transmitted, by the mark that the socket
/// has at that moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(C)]
pub struct WireCounters {
    /// Packets sent to clients, permitted answers.
    pub allowed: Volume,
    /// Packets sent to clients, refusals and errors.
    pub refused: Volume,
}

impl WireCounters {
    /// Words of a row.
    pub const WORDS: usize = size_of::<Self>() / 8;

    /// Gives the words of a row their names.
    pub const fn from_words(words: [u64; Self::WORDS]) -> Self {
        let [allowed_packets, allowed_bytes, refused_packets, refused_bytes] = words;
        Self {
            allowed: Volume { packets: allowed_packets, bytes: allowed_bytes },
            refused: Volume { packets: refused_packets, bytes: refused_bytes },
        }
    }
}

/// Number of the row in `WIRE_COUNTERS` for (path slot, CPU). The map is made with
/// [`abi::MAX_PATHS`] rows per possible CPU.
pub const fn wire_row(path: PathSlot, cpu: u32) -> u32 {
    cpu * abi::MAX_PATHS + path.0
}
