//! Endpoint choice, connections to endpoints, and the worker's own pool of them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::client::conn::http2;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tracing::debug;

use super::body::{Incoming, RequestBody};
use super::http::LocalExecutor;
use super::http1::client::{Connection, Failed, Outgoing, exchange as exchange_http1};
use super::worker::Worker;
use crate::clock;
use crate::model::backend::{Backend, BackendTarget, Upstream, UpstreamProtocol};
use crate::model::reason::Reason;
use crate::settings::Limits;

/// Endpoints that one request may try to connect to.
const CONNECT_ATTEMPTS: usize = 3;

/// A worker's upstream connections that no request uses.
pub(super) struct Pool {
    idle: RefCell<HashMap<(SocketAddr, UpstreamProtocol), Vec<Idle>>>,
    turn: Cell<u64>,
    max_idle: usize,
    idle_timeout: Duration,
    connect_timeout: Duration,
}

struct Idle {
    sender: Sender,
    since: Instant,
}

/// What the next request goes out by.
enum Sender {
    /// A connection that it has to itself.
    Http1(Connection),
    /// A share in a connection.
    H2(http2::SendRequest<RequestBody>),
}

impl Sender {
    fn is_usable(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_quiet(),
            Self::H2(sender) => !sender.is_closed(),
        }
    }
}

/// Picks one of a rule's backends by weight.
pub(super) fn choose<'b>(
    pool: &Pool,
    backends: &'b [Backend],
) -> Result<&'b Arc<Upstream>, Reason> {
    by_weight(backends, || pool.next_turn())
}

/// The backend whose turn it is; `turn` is only asked where there are several. Pure.
pub(super) fn by_weight(
    backends: &[Backend],
    turn: impl FnOnce() -> u64,
) -> Result<&Arc<Upstream>, Reason> {
    let total: u64 = backends.iter().map(|backend| u64::from(backend.weight)).sum();
    if total == 0 {
        return Err(Reason::BackendUnresolved);
    }
    let mut point = if backends.len() == 1 { 0 } else { turn() % total };
    for backend in backends {
        let weight = u64::from(backend.weight);
        if point < weight {
            return match &backend.target {
                BackendTarget::Resolved(upstream) => Ok(upstream),
                BackendTarget::Unresolved => Err(Reason::BackendUnresolved),
            };
        }
        point -= weight;
    }
    Err(Reason::BackendUnresolved)
}

/// Sends a request to an endpoint of `upstream` and waits for the head of its response; gives the
/// endpoint too.
///
/// Another endpoint is tried while nobody could be connected to, and another connection where the
/// upstream closed the one that was idle: if nothing was written of the request, or if asking twice
/// does no harm and nothing was answered (RFC 9112 9.3.1).
pub(super) async fn exchange(
    worker: &Rc<Worker>,
    upstream: &Upstream,
    request: Request<RequestBody>,
) -> Result<(Response<Incoming>, SocketAddr), Reason> {
    if upstream.endpoints.is_empty() {
        return Err(Reason::NoEndpoint);
    }
    match upstream.protocol {
        UpstreamProtocol::Http1 => over_http1(worker, upstream, request).await,
        UpstreamProtocol::H2c => Box::pin(over_h2(worker, upstream, request)).await,
    }
}

async fn over_http1(
    worker: &Rc<Worker>,
    upstream: &Upstream,
    request: Request<RequestBody>,
) -> Result<(Response<Incoming>, SocketAddr), Reason> {
    let mut outgoing = Outgoing::new(worker, request);
    let mut turns = Turns::new(worker.pool(), upstream);
    loop {
        let endpoint = turns.endpoint();
        let idle = worker.pool().take(endpoint, UpstreamProtocol::Http1);
        let (connection, reused) = match idle {
            Some(Sender::Http1(connection)) => (connection, true),
            _ => match connect(worker.pool(), endpoint).await {
                Ok(stream) => (Connection::new(stream, endpoint), false),
                Err(reason) => {
                    turns.failed(reason)?;
                    continue;
                }
            },
        };
        match exchange_http1(worker, connection, outgoing).await {
            Ok(response) => return Ok((response, endpoint)),
            Err(Failed { again: Some(again), .. }) if reused => outgoing = again,
            Err(Failed { reason, .. }) => return Err(reason),
        }
    }
}

async fn over_h2(
    worker: &Rc<Worker>,
    upstream: &Upstream,
    mut request: Request<RequestBody>,
) -> Result<(Response<Incoming>, SocketAddr), Reason> {
    let mut turns = Turns::new(worker.pool(), upstream);
    loop {
        let endpoint = turns.endpoint();
        let idle = worker.pool().take(endpoint, UpstreamProtocol::H2c);
        let (mut sender, reused) = match idle {
            Some(Sender::H2(sender)) => (sender, true),
            _ => match connect_h2(worker.pool(), endpoint).await {
                Ok(sender) => (sender, false),
                Err(reason) => {
                    turns.failed(reason)?;
                    continue;
                }
            },
        };
        match sender.try_send_request(request).await {
            Ok(response) => return Ok((response.map(Incoming::Http2), endpoint)),
            Err(mut error) => match error.take_message() {
                // The upstream had closed the idle connection before anything was sent.
                Some(unsent) if reused => request = unsent,
                _ => return Err(broken(endpoint, &error.into_error())),
            },
        }
    }
}

/// Which endpoint is tried next.
struct Turns<'u> {
    endpoints: &'u [SocketAddr],
    turn: u64,
    failed: usize,
}

impl<'u> Turns<'u> {
    fn new(pool: &Pool, upstream: &'u Upstream) -> Self {
        let turn = if upstream.endpoints.len() == 1 { 0 } else { pool.next_turn() };
        Self { endpoints: &upstream.endpoints, turn, failed: 0 }
    }

    fn endpoint(&self) -> SocketAddr {
        pick(self.endpoints, self.turn)
    }

    /// An endpoint cannot be connected to; the next one, while there is one to try.
    fn failed(&mut self, reason: Reason) -> Result<(), Reason> {
        self.failed += 1;
        self.turn = self.turn.wrapping_add(1);
        let more = self.failed < CONNECT_ATTEMPTS.min(self.endpoints.len());
        if more { Ok(()) } else { Err(reason) }
    }
}

fn broken(endpoint: SocketAddr, error: &hyper::Error) -> Reason {
    debug!(%endpoint, %error, "upstream exchange failed");
    if error.is_parse() { Reason::UpstreamProtocol } else { Reason::UpstreamConnection }
}

fn pick(endpoints: &[SocketAddr], turn: u64) -> SocketAddr {
    let count = endpoints.len() as u64;
    endpoints[usize::try_from(turn % count).unwrap_or(0)]
}

async fn connect(pool: &Pool, endpoint: SocketAddr) -> Result<TcpStream, Reason> {
    let connecting = tokio::time::timeout(pool.connect_timeout, TcpStream::connect(endpoint));
    let stream = match connecting.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            debug!(%endpoint, %error, "cannot connect to the upstream endpoint");
            return Err(Reason::UpstreamConnection);
        }
        Err(_) => return Err(Reason::UpstreamConnection),
    };
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%endpoint, %error, "cannot set TCP_NODELAY");
    }
    Ok(stream)
}

/// A fresh HTTP/2 connection, which is offered to the requests that follow at once.
async fn connect_h2(
    pool: &Pool,
    endpoint: SocketAddr,
) -> Result<http2::SendRequest<RequestBody>, Reason> {
    let io = TokioIo::new(connect(pool, endpoint).await?);
    let handshake = http2::Builder::new(LocalExecutor).timer(TokioTimer::new()).handshake(io);
    let (sender, connection) = handshake.await.map_err(|error| broken(endpoint, &error))?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            debug!(%error, "upstream connection ended");
        }
    });
    pool.put(endpoint, UpstreamProtocol::H2c, Sender::H2(sender.clone()));
    Ok(sender)
}

impl Pool {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            idle: RefCell::default(),
            turn: Cell::new(0),
            max_idle: limits.upstream_max_idle as usize,
            idle_timeout: limits.upstream_idle_timeout,
            connect_timeout: limits.upstream_connect_timeout,
        }
    }

    fn next_turn(&self) -> u64 {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        turn
    }

    /// The most recently used connection that is usable; others are dropped on the way.
    fn take(&self, endpoint: SocketAddr, protocol: UpstreamProtocol) -> Option<Sender> {
        let mut idle = self.idle.borrow_mut();
        let connections = idle.get_mut(&(endpoint, protocol))?;
        while let Some(mut last) = connections.pop() {
            if !last.sender.is_usable() {
                continue;
            }
            if let Sender::H2(shared) = &last.sender {
                let share = Sender::H2(shared.clone());
                last.since = clock::monotonic();
                connections.push(last);
                return Some(share);
            }
            return Some(last.sender);
        }
        None
    }

    /// Takes back a connection whose response is complete.
    pub(super) fn give_back(&self, endpoint: SocketAddr, connection: Connection) {
        self.put(endpoint, UpstreamProtocol::Http1, Sender::Http1(connection));
    }

    fn put(&self, endpoint: SocketAddr, protocol: UpstreamProtocol, sender: Sender) {
        let mut idle = self.idle.borrow_mut();
        let connections = idle.entry((endpoint, protocol)).or_default();
        if connections.len() < self.max_idle {
            connections.push(Idle { sender, since: clock::monotonic() });
        }
    }

    /// Drops connections that were idle for too long, and endpoints without any.
    fn reap(&self) {
        let now = clock::monotonic();
        self.idle.borrow_mut().retain(|_, connections| {
            connections
                .retain(|idle| idle.sender.is_usable() && now - idle.since < self.idle_timeout);
            !connections.is_empty()
        });
    }
}

/// Reaps idle upstream connections from time to time.
pub(super) async fn reap_loop(worker: Rc<Worker>) {
    // At least once a second also because a timer that is nearer than all others wakes the runtime's
    // driver by a system call: timeouts of requests are never nearer than this one.
    let period = worker.pool().idle_timeout / 4;
    let period = period.clamp(Duration::from_millis(100), Duration::from_secs(1));
    loop {
        tokio::time::sleep(period).await;
        worker.pool().reap();
    }
}
