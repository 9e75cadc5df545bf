//! Endpoint choice, connections to endpoints, and the worker's own pool of them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tracing::debug;

use super::body::RequestBody;
use super::http::LocalExecutor;
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

/// The sending half of an upstream connection.
enum Sender {
    Http1(http1::SendRequest<RequestBody>),
    H2(http2::SendRequest<RequestBody>),
}

impl Sender {
    fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::H2(sender) => sender.is_closed(),
        }
    }

    fn is_ready(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_ready(),
            Self::H2(sender) => sender.is_ready(),
        }
    }

    async fn try_send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        match self {
            Self::Http1(sender) => sender.try_send_request(request).await,
            Self::H2(sender) => sender.try_send_request(request).await,
        }
    }
}

/// An upstream connection while a request uses it. Dropped, it closes (HTTP/1) or is forgotten;
/// given back, it serves the next request.
pub(super) struct Lease {
    worker: Rc<Worker>,
    endpoint: SocketAddr,
    protocol: UpstreamProtocol,
    sender: Option<Sender>,
}

impl Lease {
    /// The endpoint's address.
    pub(super) fn endpoint(&self) -> SocketAddr {
        self.endpoint
    }

    /// The response is complete: the connection may serve another request.
    pub(super) fn give_back(mut self) {
        let Some(sender) = self.sender.take().filter(|sender| !sender.is_closed()) else { return };
        self.worker.pool().put(self.endpoint, self.protocol, sender);
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

/// Sends a request to an endpoint of `upstream` and waits for the head of its response.
///
/// Another endpoint, or a fresh connection, is tried only while nothing of the request has been
/// sent.
pub(super) async fn exchange(
    worker: &Rc<Worker>,
    upstream: &Upstream,
    mut request: Request<RequestBody>,
) -> Result<(Response<Incoming>, Lease), Reason> {
    if upstream.endpoints.is_empty() {
        return Err(Reason::NoEndpoint);
    }
    let first = worker.pool().next_turn();
    let mut failed_connects = 0;
    for attempt in 0.. {
        let endpoint = pick(&upstream.endpoints, first.wrapping_add(failed_connects));
        let (sender, reused) = match worker.pool().take(endpoint, upstream.protocol) {
            Some(sender) => (sender, true),
            None => match connect(worker.pool(), endpoint, upstream.protocol).await {
                Ok(sender) => {
                    worker.pool().share(endpoint, upstream.protocol, &sender);
                    (sender, false)
                }
                Err(reason) => {
                    failed_connects += 1;
                    let tried = usize::try_from(failed_connects).unwrap_or(usize::MAX);
                    if tried >= CONNECT_ATTEMPTS.min(upstream.endpoints.len()) {
                        return Err(reason);
                    }
                    continue;
                }
            },
        };
        let mut lease = Lease {
            worker: Rc::clone(worker),
            endpoint,
            protocol: upstream.protocol,
            sender: None,
        };
        let mut sender = sender;
        match sender.try_send(request).await {
            Ok(response) => {
                lease.sender = Some(sender);
                return Ok((response, lease));
            }
            Err(mut error) => match error.take_message() {
                // The upstream had closed the idle connection before anything was sent.
                Some(unsent) if reused && attempt < 64 => request = unsent,
                _ => return Err(broken(endpoint, &error.into_error())),
            },
        }
    }
    Err(Reason::UpstreamConnection)
}

fn broken(endpoint: SocketAddr, error: &hyper::Error) -> Reason {
    debug!(%endpoint, %error, "upstream exchange failed");
    if error.is_parse() { Reason::UpstreamProtocol } else { Reason::UpstreamConnection }
}

fn pick(endpoints: &[SocketAddr], turn: u64) -> SocketAddr {
    let count = endpoints.len() as u64;
    endpoints[usize::try_from(turn % count).unwrap_or(0)]
}

async fn connect(
    pool: &Pool,
    endpoint: SocketAddr,
    protocol: UpstreamProtocol,
) -> Result<Sender, Reason> {
    let stream =
        match tokio::time::timeout(pool.connect_timeout, TcpStream::connect(endpoint)).await {
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
    let handshake = handshake(stream, protocol).await;
    handshake.map_err(|error| broken(endpoint, &error))
}

async fn handshake(stream: TcpStream, protocol: UpstreamProtocol) -> hyper::Result<Sender> {
    let io = TokioIo::new(stream);
    Ok(match protocol {
        UpstreamProtocol::Http1 => {
            let (sender, connection) = http1::Builder::new().handshake(io).await?;
            tokio::task::spawn_local(async move {
                if let Err(error) = connection.await {
                    debug!(%error, "upstream connection ended");
                }
            });
            Sender::Http1(sender)
        }
        UpstreamProtocol::H2c => {
            let (sender, connection) =
                http2::Builder::new(LocalExecutor).timer(TokioTimer::new()).handshake(io).await?;
            tokio::task::spawn_local(async move {
                if let Err(error) = connection.await {
                    debug!(%error, "upstream connection ended");
                }
            });
            Sender::H2(sender)
        }
    })
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

    /// The most recently used connection that is ready; closed ones are dropped on the way.
    fn take(&self, endpoint: SocketAddr, protocol: UpstreamProtocol) -> Option<Sender> {
        let mut idle = self.idle.borrow_mut();
        let connections = idle.get_mut(&(endpoint, protocol))?;
        let mut at = connections.len();
        while at > 0 {
            at -= 1;
            if connections[at].sender.is_closed() {
                connections.swap_remove(at);
            } else if let Idle { sender: Sender::H2(shared), since } = &mut connections[at] {
                *since = clock::monotonic();
                return Some(Sender::H2(shared.clone()));
            } else if connections[at].sender.is_ready() {
                return Some(connections.swap_remove(at).sender);
            }
        }
        None
    }

    /// Offers a fresh HTTP/2 connection to the requests that follow, at once.
    fn share(&self, endpoint: SocketAddr, protocol: UpstreamProtocol, sender: &Sender) {
        if let Sender::H2(shared) = sender {
            self.put(endpoint, protocol, Sender::H2(shared.clone()));
        }
    }

    fn put(&self, endpoint: SocketAddr, protocol: UpstreamProtocol, sender: Sender) {
        let mut idle = self.idle.borrow_mut();
        let connections = idle.entry((endpoint, protocol)).or_default();
        let shared = matches!(sender, Sender::H2(_)) && !connections.is_empty();
        if connections.len() < self.max_idle && !shared {
            connections.push(Idle { sender, since: clock::monotonic() });
        }
    }

    /// Drops connections that were idle for too long, and endpoints without any.
    fn reap(&self) {
        let now = clock::monotonic();
        self.idle.borrow_mut().retain(|_, connections| {
            connections
                .retain(|idle| !idle.sender.is_closed() && now - idle.since < self.idle_timeout);
            !connections.is_empty()
        });
    }
}

/// Reaps idle upstream connections from time to time.
pub(super) async fn reap_loop(worker: Rc<Worker>) {
    let period = (worker.pool().idle_timeout / 4).max(Duration::from_millis(100));
    loop {
        tokio::time::sleep(period).await;
        worker.pool().reap();
    }
}
