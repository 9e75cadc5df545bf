//! One worker: a thread with its own runtime, sockets, upstream pool, token cache and counter rows.
//! Nothing here is shared with another worker but the snapshot and the connection gauge.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::LocalSet;

use super::accept::accept_loop;
use super::access_log::{AccessLog, LogWriter};
use super::upstream::Pool;
use crate::authn::{CacheCounters, CacheLimits, TokenCache};
use crate::bans::Watch;
use crate::clock;
use crate::counters::{ConnectionEnd, Flow, FlowPaths, Gauge, WorkerCounters};
use crate::lifecycle::DrainGuard;
use crate::model::topology::ProxyFaults;
use crate::settings::Limits;
use crate::snapshot::{Snapshot, SnapshotReader};
use crate::sys::memory;

/// How often a worker looks whether many connections have ended.
const GIVE_BACK: Duration = Duration::from_secs(2);
/// So many are many.
const WAVE: u32 = 64;
/// Buffers that a worker keeps between messages.
const KEPT_BUFFERS: usize = 64;
/// The size of a buffer that a client's request is read into.
pub(super) const INPUT_BYTES: usize = 8 << 10;

/// What a worker is told by `app`.
#[derive(Debug)]
pub enum WorkerCommand {
    /// Accept from this socket; the key names it for `Close`.
    Listen {
        /// Name of the socket.
        key: ListenerKey,
        /// A bound, listening, non-blocking socket.
        socket: std::net::TcpListener,
    },
    /// Stop accepting from a socket; its connections go on.
    Close(ListenerKey),
    /// No other daemon counts in this worker's rows any more.
    Settle,
    /// Stop accepting, and send clients to whoever accepts instead: answers say that the connection
    /// ends with them, and no connection is closed under a client that may be about to use it.
    Leave,
    /// Stop accepting, close idle connections and finish what is under way.
    Drain,
    /// Cut off what is still under way.
    Abort,
}

impl WorkerCommand {
    /// [`Self::Settle`], to make one per worker.
    pub fn settle() -> Self {
        Self::Settle
    }

    /// [`Self::Leave`], to make one per worker.
    pub fn leave() -> Self {
        Self::Leave
    }

    /// [`Self::Drain`], to make one per worker.
    pub fn drain() -> Self {
        Self::Drain
    }

    /// [`Self::Abort`], to make one per worker.
    pub fn abort() -> Self {
        Self::Abort
    }
}

/// Names a listening socket of a worker.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ListenerKey {
    /// A socket that the kernel half steers to.
    Steered(SocketAddr),
    /// A socket bound to a listener's own address and port.
    Bound(SocketAddr),
}

/// What a worker is made of. It is made on another thread than its own, so all of it is `Send`.
pub struct WorkerParts {
    /// Its number.
    pub id: u32,
    /// Limits.
    pub limits: Arc<Limits>,
    /// Reading end of the snapshot.
    pub snapshots: SnapshotReader,
    /// Its counter rows.
    pub counters: WorkerCounters,
    /// Open connections per port, of all workers.
    pub gauge: Gauge,
    /// Where its token cache shows what it does.
    pub token_cache: CacheCounters,
    /// The way to the access log; none: off.
    pub access_log: Option<LogWriter>,
    /// Where TC egress is told what connections answer; none without the kernel half.
    pub flow_paths: Option<FlowPaths>,
    /// Who is told of bad and good tokens; none: nobody.
    pub watch: Option<Watch>,
    /// Where connections without a good PROXY header are counted.
    pub proxy_faults: Arc<ProxyFaults>,
    /// Held while connections are open.
    pub drain: DrainGuard,
}

/// One worker, shared by the tasks of its thread.
pub(super) struct Worker {
    limits: Arc<Limits>,
    snapshots: RefCell<SnapshotReader>,
    counters: WorkerCounters,
    gauge: Gauge,
    access_log: AccessLog,
    flow_paths: Option<FlowPaths>,
    watch: Option<Watch>,
    proxy_faults: Arc<ProxyFaults>,
    /// The second in which strangers last made us warn.
    warned: Cell<u64>,
    tokens: RefCell<TokenCache>,
    pool: Pool,
    leaving: Closed,
    draining: Closed,
    connections: Cell<u32>,
    /// The most connections that were open since memory was last given back.
    most: Cell<u32>,
    date: Cell<(u64, [u8; 29])>,
    /// Buffers that messages are gathered in, between messages.
    buffers: RefCell<Vec<Vec<u8>>>,
    /// Buffers that clients are read into, between requests.
    inputs: RefCell<Vec<BytesMut>>,
}

impl Worker {
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow_mut().load()
    }

    pub(super) fn counters(&self) -> &WorkerCounters {
        &self.counters
    }

    pub(super) fn gauge(&self) -> &Gauge {
        &self.gauge
    }

    pub(super) fn access_log(&self) -> &AccessLog {
        &self.access_log
    }

    /// A connection's place where TC egress is told what it answers.
    pub(super) fn flow(&self, client: SocketAddr, gateway: SocketAddr) -> Option<Flow> {
        self.flow_paths.as_ref().map(|paths| paths.flow(client, gateway))
    }

    pub(super) fn watch(&self) -> Option<&Watch> {
        self.watch.as_ref()
    }

    /// Where connections without a good PROXY header are counted.
    pub(super) fn proxy_faults(&self) -> &ProxyFaults {
        &self.proxy_faults
    }

    /// Whether to warn of what strangers do: once a second, so that they cannot fill the log.
    pub(super) fn may_warn(&self) -> bool {
        let now = clock::unix_now().0;
        self.warned.replace(now) != now
    }

    pub(super) fn tokens(&self) -> &RefCell<TokenCache> {
        &self.tokens
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Closed once no connection is to be used for another request.
    pub(super) fn leaving(&self) -> &Closed {
        &self.leaving
    }

    /// Closed once idle connections are to end.
    pub(super) fn draining(&self) -> &Closed {
        &self.draining
    }

    /// The time as `Date` has it (RFC 9110 5.6.7), written once a second.
    pub(super) fn date(&self) -> [u8; 29] {
        let now = clock::unix_now().0;
        let (second, date) = self.date.get();
        if second == now {
            return date;
        }
        let date = http_date(now);
        self.date.set((now, date));
        date
    }

    /// An empty buffer to gather a message in.
    pub(super) fn take_buffer(&self) -> Vec<u8> {
        self.buffers.borrow_mut().pop().unwrap_or_default()
    }

    /// An empty buffer to read into.
    pub(super) fn take_input(&self) -> BytesMut {
        let kept = self.inputs.borrow_mut().pop();
        kept.unwrap_or_else(|| BytesMut::with_capacity(INPUT_BYTES))
    }

    /// Keeps a buffer that was read from, if nobody looks at its bytes any more.
    pub(super) fn give_input(&self, mut buffer: BytesMut) {
        let mut inputs = self.inputs.borrow_mut();
        let is_usual = buffer.try_reclaim(INPUT_BYTES) && buffer.capacity() == INPUT_BYTES;
        if is_usual && inputs.len() < KEPT_BUFFERS {
            inputs.push(buffer);
        }
    }

    /// Keeps a buffer for the next message.
    pub(super) fn give_buffer(&self, buffer: Vec<u8>) {
        let mut buffers = self.buffers.borrow_mut();
        if buffers.len() < KEPT_BUFFERS {
            buffers.push(buffer);
        }
    }
}

fn http_date(unix: u64) -> [u8; 29] {
    let mut date = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    let seconds = i64::try_from(unix).unwrap_or(i64::MAX);
    let timestamp = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    if let Ok(text) = printer.timestamp_to_rfc9110_string(&timestamp)
        && let Ok(text) = text.as_bytes().try_into()
    {
        date = text;
    }
    date
}

/// Something that closes once, and those who wait for it.
#[derive(Debug, Default)]
pub(super) struct Closed {
    closed: Cell<bool>,
    notify: Notify,
}

impl Closed {
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.notify.notify_waiters();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    pub(super) async fn wait(&self) {
        // Created before the check, so that no wake-up between the two is lost.
        let notified = self.notify.notified();
        if !self.closed.get() {
            notified.await;
        }
    }
}

/// Runs a worker on the current thread until it is drained.
pub fn run(parts: WorkerParts, commands: mpsc::UnboundedReceiver<WorkerCommand>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let WorkerParts {
        id,
        limits,
        snapshots,
        counters,
        gauge,
        token_cache,
        access_log,
        flow_paths,
        watch,
        proxy_faults,
        drain,
    } = parts;
    let cache_limits = CacheLimits {
        accepted: limits.token_cache as usize,
        refused: limits.refused_token_cache as usize,
        accepted_bytes: limits.token_cache_bytes as usize,
        refused_bytes: limits.refused_token_cache_bytes as usize,
    };
    let tokens = RefCell::new(TokenCache::counted(cache_limits, token_cache));
    let worker = Rc::new(Worker {
        pool: Pool::new(&limits),
        limits,
        snapshots: RefCell::new(snapshots),
        counters,
        gauge,
        access_log: AccessLog::new(access_log),
        flow_paths,
        watch,
        proxy_faults,
        warned: Cell::new(0),
        tokens,
        leaving: Closed::default(),
        draining: Closed::default(),
        connections: Cell::new(0),
        most: Cell::new(0),
        date: Cell::new((0, [0; 29])),
        buffers: RefCell::default(),
        inputs: RefCell::default(),
    });
    tracing::debug!(worker = id, "worker started");
    // The tasks end with the set: requests cut off here still count and are logged.
    let local = LocalSet::new();
    local.block_on(&runtime, serve(&worker, commands));
    drop(local);
    worker.access_log.flush();
    drop(drain);
    Ok(())
}

/// Follows commands; ends when drained and the last connection is closed.
async fn serve(worker: &Rc<Worker>, mut commands: mpsc::UnboundedReceiver<WorkerCommand>) {
    let mut open: Vec<(ListenerKey, Rc<Closed>)> = Vec::new();
    tokio::task::spawn_local(super::access_log::flush_loop(worker.access_log.clone()));
    tokio::task::spawn_local(super::upstream::reap_loop(Rc::clone(worker)));
    tokio::task::spawn_local(give_back_loop(Rc::clone(worker)));
    let last = loop {
        match commands.recv().await {
            Some(WorkerCommand::Listen { key, socket }) => match TcpListener::from_std(socket) {
                Ok(listener) => {
                    let stop = Rc::new(Closed::default());
                    open.push((key, Rc::clone(&stop)));
                    tokio::task::spawn_local(accept_loop(Rc::clone(worker), listener, stop));
                }
                Err(error) => tracing::error!(?key, %error, "cannot poll a listening socket"),
            },
            Some(WorkerCommand::Close(key)) => {
                let closed = open.extract_if(.., |(name, _)| *name == key);
                closed.for_each(|(_, stop)| stop.close());
            }
            Some(WorkerCommand::Settle) => worker.counters.settle(worker.connections.get()),
            last => break last,
        }
    };
    for (_, stop) in open {
        stop.close();
    }
    worker.drain(last, commands).await;
}

/// Gives memory back to the kernel once most of many connections have ended.
async fn give_back_loop(worker: Rc<Worker>) {
    loop {
        tokio::time::sleep(GIVE_BACK).await;
        let open = worker.connections.get();
        if is_wave_gone(worker.most.get(), open) {
            worker.most.set(open);
            memory::give_back();
        }
    }
}

/// Whether so many connections fewer are open than there were that their memory is worth a look.
fn is_wave_gone(most: u32, open: u32) -> bool {
    most.saturating_sub(open) >= WAVE && open <= most / 2
}

impl Worker {
    /// Follows the commands that end a worker, until no connection is open; `app` bounds the wait.
    async fn drain(
        &self,
        mut command: Option<WorkerCommand>,
        mut commands: mpsc::UnboundedReceiver<WorkerCommand>,
    ) {
        loop {
            match command {
                Some(WorkerCommand::Leave) => self.leaving.close(),
                Some(WorkerCommand::Drain) => {
                    self.leaving.close();
                    self.draining.close();
                }
                Some(WorkerCommand::Settle) => self.counters.settle(self.connections.get()),
                Some(WorkerCommand::Listen { .. } | WorkerCommand::Close(_)) => {}
                // Enough waited, or nobody left to tell.
                Some(WorkerCommand::Abort) | None => return,
            }
            command = tokio::select! {
                () = self.drained() => return,
                command = commands.recv() => command,
            };
        }
    }

    /// Ends when no connection is open.
    async fn drained(&self) {
        while self.connections.get() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Counts an accepted connection, for the drain too. It ends when the value is dropped: as
    /// served, unless told otherwise.
    pub(super) fn connection_task(self: &Rc<Self>) -> ConnectionTask {
        let open = self.connections.get() + 1;
        self.connections.set(open);
        self.most.set(self.most.get().max(open));
        self.counters.connection_accepted();
        ConnectionTask { worker: Rc::clone(self), end: Cell::new(ConnectionEnd::Served) }
    }
}

/// A connection task under way.
pub(super) struct ConnectionTask {
    worker: Rc<Worker>,
    end: Cell<ConnectionEnd>,
}

impl ConnectionTask {
    /// How the connection will have ended if it ends now.
    pub(super) fn ends(&self, end: ConnectionEnd) {
        self.end.set(end);
    }
}

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        self.worker.counters.connection_closed(self.end.get());
        self.worker.connections.set(self.worker.connections.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::is_wave_gone;

    #[test]
    fn memory_is_given_back_when_most_of_many_connections_have_ended() {
        let rows = [
            ("none came", 0, 0, false),
            ("few came and went", 63, 0, false),
            ("many came and went", 64, 0, true),
            ("half of many went", 1_000, 500, true),
            ("less than half of many went", 1_000, 501, false),
            ("as many as ever", 1_000, 1_000, false),
        ];
        for (name, most, open, expected) in rows {
            assert_eq!(is_wave_gone(most, open), expected, "{name}");
        }
    }
}
