//! Stage 1: sockets, connection limits, back-off, and what is known of a connection.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use gateway_common::path::PathSlot;
use http::HeaderValue;
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

use super::forward;
use super::http as stage;
use super::proxy_header;
use super::stream::{Socket, Stream};
use super::tls;
use super::worker::{Closed, ConnectionTask, Worker};
use crate::clock::Moment;
use crate::counters::{ConnectionEnd, Flow, Place};
use crate::model::listener::Protocol;
use crate::model::reason::Reason;
use crate::request::{ConnMeta, LastAuthority, Scheme};
use crate::settings::Limits;
use crate::snapshot::Port;

/// Accepts until the listener is closed by a command or by drain.
pub(super) async fn accept_loop(worker: Rc<Worker>, listener: TcpListener, stop: Rc<Closed>) {
    let mut back_off = Duration::from_millis(5);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.wait() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                back_off = Duration::from_millis(5);
                // Made here and not in the task: a drain must not end between the two.
                let task = worker.connection_task();
                tokio::task::spawn_local(connection(Rc::clone(&worker), task, stream, peer));
            }
            // The client gave up between SYN and accept.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                // Out of descriptors or memory: accepting at once again would only spin.
                warn!(%error, "cannot accept a connection; raise the file limit if this goes on");
                tokio::time::sleep(back_off).await;
                back_off = (back_off * 2).min(Duration::from_secs(1));
            }
        }
    }
}

/// One client connection, from accept to close.
async fn connection(worker: Rc<Worker>, task: ConnectionTask, stream: TcpStream, peer: SocketAddr) {
    let accepted = match Arrived::new(&worker, stream, peer) {
        Some(Arrived::Told(accepted)) => Some(accepted),
        Some(Arrived::Untold(hearing)) => hearing.await,
        None => None,
    };
    let Some(accepted) = accepted else {
        task.ends(ConnectionEnd::Refused);
        return;
    };
    match accepted.port.protocol {
        Protocol::Http => {
            let Accepted { socket, connection, .. } = &accepted;
            stage::serve_clear(&worker, socket.clone(), connection).await;
        }
        Protocol::Https => {
            task.ends(ConnectionEnd::HandshakeFailed);
            // Boxed in the same breath: a session that stands here has a place in every task.
            let session = tls::shake(&worker, &accepted).await;
            let session =
                session.map(|session| (Stream::Tls(Box::new(session.stream)), session.h2));
            let Some((stream, h2)) = session else { return };
            task.ends(ConnectionEnd::Served);
            stage::serve_tls(&worker, stream, &accepted.connection, h2).await;
        }
    }
}

/// A connection that was accepted.
enum Arrived {
    /// It is known whose it is.
    Told(Accepted),
    /// A proxy has to say that first. In a box: most connections have no room to keep for it.
    Untold(Pin<Box<dyn Future<Output = Option<Accepted>>>>),
}

impl Arrived {
    /// Finds the port; none where no listener has it or it is full.
    fn new(worker: &Rc<Worker>, mut stream: TcpStream, peer: SocketAddr) -> Option<Self> {
        let local = stream.local_addr().inspect_err(|error| debug!(%error, "client gone")).ok()?;
        let local = SocketAddr::new(local.ip().to_canonical(), local.port());
        let port = worker.snapshot().ports.find(local).map(Arc::clone)?;
        let place = worker.gauge().enter(port.numbers.first(), worker.limits().max_connections)?;
        let scheme = match port.protocol {
            Protocol::Http => Scheme::Http,
            Protocol::Https => Scheme::Https,
        };
        let meta = ConnMeta {
            peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
            local,
            scheme,
            sni: None,
            proxied: None,
        };
        if !port.proxy_protocol {
            return Some(Self::Told(Accepted::told(worker, stream, meta, place, port)));
        }
        let worker = Rc::clone(worker);
        Some(Self::Untold(Box::pin(async move {
            let proxied = Some(proxy_header::hear(&worker, &mut stream, &meta).await?);
            let meta = ConnMeta { proxied, ..meta };
            Some(Accepted::told(&worker, stream, meta, place, port))
        })))
    }
}

/// An accepted connection that belongs to a listener port.
pub(super) struct Accepted {
    pub(super) socket: Socket,
    pub(super) connection: Rc<Connection>,
    pub(super) port: Arc<Port>,
}

impl Accepted {
    fn told(
        worker: &Worker,
        stream: TcpStream,
        meta: ConnMeta,
        place: Place,
        port: Arc<Port>,
    ) -> Self {
        let socket = Socket::new(stream);
        let connection = Rc::new(Connection::new(worker, meta, place));
        Self { socket, connection, port }
    }
}

/// What the stages of one connection share.
#[derive(Debug)]
pub(super) struct Connection {
    meta: RefCell<Rc<ConnMeta>>,
    /// Where it comes from, as upstreams are told it.
    source: HeaderValue,
    /// Where TC egress is told what it answers; none without the kernel half.
    flow: Option<Flow>,
    last_activity: Cell<Moment>,
    in_head: Cell<Option<Moment>>,
    in_flight: Cell<u32>,
    requests: Cell<u64>,
    framing_refusal: Cell<Option<Reason>>,
    last_authority: LastAuthority,
    _place: Place,
}

impl Connection {
    fn new(worker: &Worker, meta: ConnMeta, place: Place) -> Self {
        let now = Moment::now();
        Self {
            source: forward::source(&meta),
            flow: worker.flow(meta.peer, meta.local),
            meta: RefCell::new(Rc::new(meta)),
            last_activity: Cell::new(now),
            in_head: Cell::new(Some(now)),
            in_flight: Cell::new(0),
            requests: Cell::new(0),
            framing_refusal: Cell::new(None),
            last_authority: LastAuthority::default(),
            _place: place,
        }
    }

    /// How the client reached us.
    pub(super) fn meta(&self) -> Rc<ConnMeta> {
        Rc::clone(&self.meta.borrow())
    }

    /// Where it comes from, as upstreams are told it.
    pub(super) fn source(&self) -> HeaderValue {
        self.source.clone()
    }

    /// Notes the server name of the handshake.
    pub(super) fn set_sni(&self, sni: Option<Arc<str>>) {
        let mut meta = self.meta.borrow_mut();
        *meta = Rc::new(ConnMeta { sni, ..(**meta).clone() });
    }

    /// Bytes moved.
    pub(super) fn touch(&self) {
        self.last_activity.set(Moment::now());
    }

    /// Bytes moved on HTTP/2: without a request they are PING, SETTINGS and the like, which keep no
    /// connection open.
    pub(super) fn touch_if_busy(&self) {
        if self.in_flight.get() > 0 {
            self.touch();
        }
    }

    /// Whether a head is under way; keeps the time at which it began.
    pub(super) fn set_in_head(&self, in_head: bool) {
        match (in_head, self.in_head.get()) {
            (true, None) => self.in_head.set(Some(self.last_activity.get())),
            (false, Some(_)) => self.in_head.set(None),
            _ => {}
        }
    }

    /// A request's head is complete, now.
    pub(super) fn request_opened(&self) -> Moment {
        self.touch();
        self.in_flight.set(self.in_flight.get() + 1);
        self.requests.set(self.requests.get() + 1);
        self.last_activity.get()
    }

    /// A request has its verdict.
    pub(super) fn request_closed(&self) {
        self.touch();
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
    }

    /// Requests under way.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// Requests so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Whether the client began a head that is not complete.
    pub(super) fn head_under_way(&self) -> bool {
        self.in_head.get().is_some()
    }

    /// What the last request said whom it is for.
    pub(super) fn last_authority(&self) -> &LastAuthority {
        &self.last_authority
    }

    /// The framing of a request's body is broken.
    pub(super) fn refuse_framing(&self, reason: Reason) {
        self.framing_refusal.set(Some(reason));
    }

    /// What is wrong with the framing, if something is.
    pub(super) fn framing_refusal(&self) -> Option<Reason> {
        self.framing_refusal.get()
    }

    /// When the connection has waited long enough.
    pub(super) fn deadline(&self, limits: &Limits) -> Moment {
        if self.in_flight.get() > 0 {
            return self.last_activity.get() + limits.stream_idle_timeout;
        }
        match self.in_head.get() {
            Some(began) => began + limits.head_timeout,
            None => self.last_activity.get() + limits.idle_timeout,
        }
    }

    /// What is sent from here on answers a request of this path, for the wire counters.
    pub(super) fn answers(&self, path: PathSlot, permitted: bool) {
        if let Some(flow) = &self.flow {
            flow.answer(path, permitted);
        }
    }
}
