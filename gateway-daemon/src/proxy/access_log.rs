//! One JSON line per request, written off the worker by a thread of its own.
//!
//! Fields are documented in `docs/operations.md`. Tokens never appear: neither headers nor the
//! query are logged.

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use gateway_common::path::PathSlot;
use gateway_common::verdict::RequestVerdict;
use http::StatusCode;
use serde::Serialize;
use tokio::sync::Notify;

use super::count::Facts;
use crate::authz::{DecidedBy, ShadowMatch};
use crate::clock;
use crate::model::ext_authz::CheckOutcome;
use crate::model::object::ObjectRef;
use crate::model::reason::Reason;
use crate::request::ConnMeta;
use crate::settings::AccessLogTarget;

/// Batches that may wait for the writer; what comes while it is full is dropped and counted.
const WAITING_BATCHES: usize = 256;
/// A batch is handed over at this size, or when the worker has been quiet for a moment.
const BATCH_BYTES: usize = 32 * 1024;
const BATCH_DELAY: Duration = Duration::from_millis(20);

/// Everything a line is made of.
pub(super) struct Line<'r> {
    pub(super) facts: &'r Facts,
    pub(super) meta: &'r ConnMeta,
    pub(super) verdict: RequestVerdict,
    pub(super) reason: Option<Reason>,
    pub(super) status: Option<StatusCode>,
    pub(super) path_slot: PathSlot,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) duration: Duration,
    pub(super) connection_requests: u64,
}

/// A line's fields in the order they are printed.
#[derive(Serialize)]
struct Fields<'r> {
    time: String,
    client: std::net::SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<std::net::SocketAddr>,
    listener: Option<&'r str>,
    scheme: &'static str,
    method: Option<&'r str>,
    authority: &'r str,
    path: &'r str,
    path_pattern: Option<&'r str>,
    status: Option<u16>,
    verdict: &'static str,
    reason: Option<&'static str>,
    route: Option<String>,
    policy: Option<String>,
    rule: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shadow: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ext_authz: Vec<String>,
    issuer: Option<&'r str>,
    upstream: Option<std::net::SocketAddr>,
    request_bytes: u64,
    response_bytes: u64,
    duration_us: u64,
    upstream_us: Option<u64>,
    connection_requests: u64,
    generation: Option<u64>,
}

impl<'r> Fields<'r> {
    fn new(line: &Line<'r>) -> Self {
        let facts = line.facts;
        let decided_by = facts.decided_by.as_deref();
        Self {
            time: rfc3339(clock::since_epoch()),
            client: line.meta.client(),
            peer: (line.meta.client() != line.meta.peer).then_some(line.meta.peer),
            listener: facts.listener.as_deref(),
            scheme: line.meta.scheme.as_str(),
            method: facts.method.as_ref().map(http::Method::as_str),
            authority: &facts.authority,
            path: &facts.path,
            path_pattern: facts.snapshot.as_ref().and_then(|s| s.paths.name(line.path_slot)),
            status: line.status.map(|status| status.as_u16()),
            verdict: line.verdict.name(),
            reason: line.reason.map(Reason::word),
            route: facts
                .route
                .as_ref()
                .map(|(o, rule)| format!("{}/{}/{rule}", o.namespace, o.name)),
            policy: decided_by.map(|by| format!("{}/{}", by.policy.namespace, by.policy.name)),
            rule: decided_by.map(|by| by.rule),
            shadow: facts.shadow.iter().map(shadow).collect(),
            ext_authz: facts.ext_authz.iter().map(checked).collect(),
            issuer: facts.issuer.as_deref(),
            upstream: facts.upstream,
            request_bytes: line.request_bytes,
            response_bytes: line.response_bytes,
            duration_us: microseconds(line.duration),
            upstream_us: facts.upstream_wait.map(microseconds),
            connection_requests: line.connection_requests,
            generation: facts.snapshot.as_ref().map(|s| s.generation),
        }
    }
}

/// What an AUDIT policy, or one in dry run, would have said: `DENY namespace/name/rule`.
fn shadow(matched: &ShadowMatch) -> String {
    let DecidedBy { policy, rule } = &*matched.matched;
    format!("{} {}/{}/{rule}", matched.action.word(), policy.namespace, policy.name)
}

/// What came of asking a provider: `allowed namespace/name`.
fn checked((provider, outcome): &(ObjectRef, CheckOutcome)) -> String {
    format!("{} {}/{}", outcome.word(), provider.namespace, provider.name)
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// RFC 3339 in UTC with microseconds, from time since the epoch.
fn rfc3339(since_epoch: Duration) -> String {
    let microseconds = i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX);
    let timestamp = jiff::Timestamp::from_microsecond(microseconds).unwrap_or(jiff::Timestamp::MAX);
    format!("{timestamp:.6}")
}

/// A worker's end of the log.
#[derive(Clone)]
pub struct AccessLog(Option<Rc<Batch>>);

struct Batch {
    bytes: RefCell<Vec<u8>>,
    writer: LogWriter,
    pending: Notify,
}

impl AccessLog {
    /// The worker's end of `writer`; none: the log is off.
    pub fn new(writer: Option<LogWriter>) -> Self {
        Self(writer.map(|writer| {
            Rc::new(Batch { bytes: RefCell::default(), writer, pending: Notify::new() })
        }))
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn write(&self, line: &Line<'_>) {
        let Some(batch) = &self.0 else { return };
        let mut bytes = batch.bytes.borrow_mut();
        if bytes.is_empty() {
            batch.pending.notify_one();
        }
        match serde_json::to_writer(&mut *bytes, &Fields::new(line)) {
            Ok(()) => bytes.push(b'\n'),
            Err(error) => tracing::error!(%error, "cannot format an access log line"),
        }
        if bytes.len() >= BATCH_BYTES {
            batch.writer.send(std::mem::take(&mut *bytes));
        }
    }

    /// Hands over what is waiting.
    pub(super) fn flush(&self) {
        if let Some(batch) = &self.0 {
            let bytes = std::mem::take(&mut *batch.bytes.borrow_mut());
            if !bytes.is_empty() {
                batch.writer.send(bytes);
            }
        }
    }
}

/// Hands over a worker's lines a moment after the first of them.
pub(super) async fn flush_loop(log: AccessLog) {
    let Some(batch) = &log.0 else { return };
    loop {
        batch.pending.notified().await;
        tokio::time::sleep(BATCH_DELAY).await;
        log.flush();
    }
}

/// The way to the writing thread, one clone per worker.
#[derive(Clone)]
pub struct LogWriter {
    batches: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

impl LogWriter {
    /// Opens the target and starts the writing thread; none where the log is off. The thread ends,
    /// with everything written, when the last clone is dropped.
    pub fn start(
        target: &AccessLogTarget,
    ) -> io::Result<Option<(Self, std::thread::JoinHandle<()>)>> {
        let sink: Box<dyn Write + Send> = match target {
            AccessLogTarget::Off => return Ok(None),
            AccessLogTarget::Stdout => Box::new(io::stdout()),
            AccessLogTarget::File(path) => {
                Box::new(OpenOptions::new().create(true).append(true).open(path)?)
            }
        };
        let (batches, receiver) = sync_channel(WAITING_BATCHES);
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_batches(sink, &receiver))?;
        Ok(Some((Self { batches, dropped: Arc::default() }, thread)))
    }

    fn send(&self, batch: Vec<u8>) {
        match self.batches.try_send(batch) {
            Ok(()) => {}
            Err(TrySendError::Full(lost) | TrySendError::Disconnected(lost)) => {
                let lines = memchr::memchr_iter(b'\n', &lost).count() as u64;
                self.dropped.fetch_add(lines, Ordering::Relaxed);
            }
        }
    }

    /// Where the number of lines lost to a slow target is kept.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }
}

fn write_batches(mut sink: Box<dyn Write + Send>, batches: &Receiver<Vec<u8>>) {
    while let Ok(batch) = batches.recv() {
        if let Err(error) = sink.write_all(&batch).and_then(|()| sink.flush()) {
            tracing::error!(%error, "cannot write the access log; its lines are lost from here on");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_times_as_rfc3339() {
        for (seconds, text) in
            [(0, "1970-01-01T00:00:00.000000Z"), (1_709_251_199, "2024-02-29T23:59:59.000000Z")]
        {
            assert_eq!(rfc3339(Duration::from_secs(seconds)), text);
        }
        assert_eq!(rfc3339(Duration::from_micros(1_500_001)), "1970-01-01T00:00:01.500001Z");
    }
}
