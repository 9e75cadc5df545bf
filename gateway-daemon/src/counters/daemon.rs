//! The writing end of one worker.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use gateway_common::abi;
use gateway_common::counters::RequestCounters;
use gateway_common::path::PathSlot;
use gateway_common::verdict::RequestVerdict;

use super::Regions;

const REQUESTS: usize = std::mem::offset_of!(RequestCounters, requests) / 8;
const REQUEST_BYTES: usize = std::mem::offset_of!(RequestCounters, request_bytes) / 8;
const RESPONSE_BYTES: usize = std::mem::offset_of!(RequestCounters, response_bytes) / 8;
const CONNECTIONS: usize = std::mem::offset_of!(RequestCounters, connections) / 8;
const CONNECTIONS_REFUSED: usize = std::mem::offset_of!(RequestCounters, connections_refused) / 8;
const HANDSHAKES_FAILED: usize = std::mem::offset_of!(RequestCounters, handshakes_failed) / 8;
const CONNECTIONS_SERVED: usize = std::mem::offset_of!(RequestCounters, connections_served) / 8;
const CONNECTIONS_OPEN: usize = std::mem::offset_of!(RequestCounters, connections_open) / 8;
const CONNECTIONS_LOST: usize = std::mem::offset_of!(RequestCounters, connections_lost) / 8;

/// How an accepted connection ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConnectionEnd {
    /// Closed at once for a connection limit, or because its port is no listener's.
    Refused,
    /// The TLS handshake failed or timed out.
    HandshakeFailed,
    /// Served and closed.
    Served,
}

impl ConnectionEnd {
    const fn word(self) -> usize {
        match self {
            Self::Refused => CONNECTIONS_REFUSED,
            Self::HandshakeFailed => HANDSHAKES_FAILED,
            Self::Served => CONNECTIONS_SERVED,
        }
    }
}

/// A worker's handle to its rows of `REQUEST_COUNTERS`.
///
/// One worker of a daemon writes a row. While a daemon takes over from another one, the other's
/// worker of the same number finishes what it has under way in the same row, so every addition is
/// atomic; no system call is made. It may move to the worker's thread, and is not shared between
/// threads, whose additions to a total and its part would interleave.
#[derive(Debug)]
pub struct WorkerCounters {
    regions: Regions,
    worker: u32,
    /// Not `Sync`.
    one_thread: PhantomData<Cell<()>>,
}

impl WorkerCounters {
    /// What the last writer of the rows left open, because it was killed, is lost; while it still
    /// runs, nothing is.
    pub(super) fn new(regions: Regions, worker: u32) -> Self {
        let counters = Self { regions, worker, one_thread: PhantomData };
        if !counters.regions.is_shared() {
            counters.settle(0);
        }
        counters
    }

    /// Nobody else writes these rows any more, and `open` connections are open here: what the rows
    /// have beyond that was open when another daemon was killed, and is lost.
    pub fn settle(&self, open: u32) {
        let row = self.regions.request_row(PathSlot::NONE, self.worker);
        let lost = row[CONNECTIONS_OPEN].load(Relaxed).wrapping_sub(u64::from(open));
        row[CONNECTIONS_OPEN].fetch_sub(lost, Relaxed);
        add(&row[CONNECTIONS_LOST], lost);
    }

    /// Counts a request with its final verdict and the body bytes that passed each way. Call it
    /// exactly once per request.
    pub fn record(
        &self,
        path: PathSlot,
        verdict: RequestVerdict,
        request_bytes: u64,
        response_bytes: u64,
    ) {
        let path = if path.0 < abi::MAX_PATHS { path } else { PathSlot::NONE };
        let row = self.regions.request_row(path, self.worker);
        add(&row[REQUESTS], 1);
        add(&row[RequestCounters::word(verdict)], 1);
        add(&row[REQUEST_BYTES], request_bytes);
        add(&row[RESPONSE_BYTES], response_bytes);
    }

    /// Counts why a request did not get the upstream's answer, by the word of
    /// [`ReasonCounters`](gateway_common::reasons::ReasonCounters) that has the reason's name.
    pub fn refused(&self, word: usize) {
        add(&self.regions.reason_row(self.worker)[word], 1);
    }

    /// Counts an accepted connection as open; [`Self::connection_closed`] follows, once.
    pub fn connection_accepted(&self) {
        let row = self.regions.request_row(PathSlot::NONE, self.worker);
        add(&row[CONNECTIONS], 1);
        add(&row[CONNECTIONS_OPEN], 1);
    }

    /// Counts the end of an accepted connection.
    pub fn connection_closed(&self, end: ConnectionEnd) {
        let row = self.regions.request_row(PathSlot::NONE, self.worker);
        add(&row[end.word()], 1);
        row[CONNECTIONS_OPEN].fetch_sub(1, Relaxed);
    }
}

fn add(cell: &AtomicU64, amount: u64) {
    cell.fetch_add(amount, Relaxed);
}
