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

/// A worker's handle to its rows of `REQUEST_COUNTERS`.
///
/// The worker is the only writer, so counting is a plain load, add and store: no lock prefix, no
/// system call. It may move to the worker's thread, and is not shared between threads.
#[derive(Debug)]
pub struct WorkerCounters {
    regions: Regions,
    worker: u32,
    /// Not `Sync`: two threads that add to one cell would lose counts.
    one_thread: PhantomData<Cell<()>>,
}

impl WorkerCounters {
    pub(super) fn new(regions: Regions, worker: u32) -> Self {
        Self { regions, worker, one_thread: PhantomData }
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

    /// Counts an accepted connection; every other connection call follows one of these.
    pub fn connection_accepted(&self) {
        self.connection(CONNECTIONS);
    }

    /// Counts an accepted connection that was closed at once for a connection limit.
    pub fn connection_refused(&self) {
        self.connection(CONNECTIONS_REFUSED);
    }

    /// Counts an accepted connection whose TLS handshake failed or timed out.
    pub fn handshake_failed(&self) {
        self.connection(HANDSHAKES_FAILED);
    }

    /// Counts an accepted connection that was served and is closed now.
    pub fn connection_served(&self) {
        self.connection(CONNECTIONS_SERVED);
    }

    fn connection(&self, word: usize) {
        add(&self.regions.request_row(PathSlot::NONE, self.worker)[word], 1);
    }
}

/// Adds where nobody else writes.
fn add(cell: &AtomicU64, amount: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(amount), Relaxed);
}
