//! One exchange with an upstream: the request goes out, body and all, while the response comes in.
//!
//! There is no task beside the request's own: whoever waits for the response, or reads its body, also
//! moves what is left of the request's body.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tracing::debug;

use super::decode::{Broken, Decoded, Decoder};
use super::encode::{self, Framing, Gather};
use super::head::{self, ResponseHead, Scan};
use super::{FIRST_READ, ReadSize, after_others};
use crate::model::reason::Reason;
use crate::proxy::body::{Broke, Incoming, RequestBody};
use crate::proxy::worker::Worker;

/// The longest head of a response.
const MOST_HEAD: usize = 64 << 10;
/// Fields of a response.
const MOST_HEADERS: usize = 128;
/// Informational responses before the one that counts.
const MOST_INFORMATIONAL: u32 = 16;

/// A connection to an endpoint that speaks HTTP/1.1.
#[derive(Debug)]
pub(in crate::proxy) struct Connection {
    stream: TcpStream,
    endpoint: SocketAddr,
    input: BytesMut,
    read_size: ReadSize,
}

impl Connection {
    pub(in crate::proxy) fn new(stream: TcpStream, endpoint: SocketAddr) -> Self {
        Self { stream, endpoint, input: BytesMut::new(), read_size: ReadSize::default() }
    }

    /// Whether an idle connection is still there: neither closed, nor talking out of turn. Costs no
    /// system call where the runtime has heard nothing from it.
    pub(in crate::proxy) fn is_quiet(&self) -> bool {
        let silence = self.stream.try_read(&mut [0]);
        self.input.is_empty()
            && silence.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read_size.make_room(&mut self.input, FIRST_READ / 2);
        let room = self.input.capacity() - self.input.len();
        let Poll::Ready(read) = pin!(self.stream.read_buf(&mut self.input)).poll(cx) else {
            self.read_size.release(&mut self.input);
            return Poll::Pending;
        };
        let read = read?;
        self.read_size.learn(read, room);
        Poll::Ready(Ok(read))
    }

    /// Makes it ready to wait for the next request.
    fn rest(&mut self) {
        self.read_size = ReadSize::default();
        if self.input.capacity() > FIRST_READ {
            self.input = BytesMut::new();
        }
    }
}

/// A request on its way, as it is written.
#[derive(Debug)]
pub(in crate::proxy) struct Outgoing {
    gather: Gather,
    body: RequestBody,
    framing: Framing,
    /// The body is at its end, and what ends it is gathered.
    ended: bool,
    /// The response has no body.
    head: bool,
    /// Asking twice is as good as asking once (RFC 9110 9.2.2), and the body is still here.
    repeatable: bool,
}

/// Why a request stopped being written.
enum Stopped {
    /// The client broke its body off.
    Client(Broke),
    /// The upstream takes no more.
    Upstream(io::Error),
}

impl Outgoing {
    /// Lays a request out.
    pub(in crate::proxy) fn new(worker: &Worker, request: Request<RequestBody>) -> Self {
        let (head, body) = request.into_parts();
        let framing = framing(&head.method, &body);
        let mut gather = Gather::reusing(worker.take_buffer());
        let target = head.uri.path_and_query();
        encode::request_head(gather.head(), &head.method, target, &head.headers, framing);
        let ended = matches!(framing, Framing::Nothing | Framing::Exact(0));
        let repeatable = ended && head.method.is_idempotent();
        Self { gather, body, framing, ended, head: head.method == Method::HEAD, repeatable }
    }

    /// Writes as much as there is. Ready when nothing is left, of the body either.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut TcpStream,
    ) -> Poll<Result<(), Stopped>> {
        loop {
            while !self.ended && self.gather.has_room() {
                match Pin::new(&mut self.body).poll_frame(cx) {
                    Poll::Ready(frame) => self.take(frame).map_err(Stopped::Client)?,
                    Poll::Pending => break,
                }
            }
            if self.gather.is_empty() {
                return if self.ended { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            ready!(self.gather.poll_write(cx, stream)).map_err(Stopped::Upstream)?;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn take(&mut self, frame: Option<Result<Frame<Bytes>, Broke>>) -> Result<(), Broke> {
        let Some(frame) = frame.transpose()? else { return self.end(None) };
        match frame.into_data() {
            Ok(data) => {
                if let Framing::Exact(left) = &mut self.framing {
                    *left = left.checked_sub(data.len() as u64).ok_or(Broke::Length)?;
                }
                self.gather.push(data, self.framing);
                if self.body.is_end_stream() { self.end(None) } else { Ok(()) }
            }
            Err(frame) => self.end(frame.into_trailers().ok().as_ref()),
        }
    }

    fn end(&mut self, trailers: Option<&http::HeaderMap>) -> Result<(), Broke> {
        self.ended = true;
        match self.framing {
            Framing::Exact(1..) => Err(Broke::Length),
            Framing::Chunked => {
                self.gather.push_end(trailers);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// How a request's body is written: as its length is known.
fn framing(method: &Method, body: &RequestBody) -> Framing {
    match (body.is_end_stream(), body.size_hint().exact()) {
        // Servers expect a length from methods that have a body by nature (RFC 9110 8.6).
        (true, _) if matches!(*method, Method::POST | Method::PUT | Method::PATCH) => {
            Framing::Exact(0)
        }
        (true, _) | (_, Some(0)) => Framing::Nothing,
        (_, Some(length)) => Framing::Exact(length),
        _ => Framing::Chunked,
    }
}

/// Why there is no response.
pub(in crate::proxy) struct Failed {
    pub(in crate::proxy) reason: Reason,
    /// The request, if it may be sent again over another connection.
    pub(in crate::proxy) again: Option<Outgoing>,
}

/// Sends a request and waits for the head of its response.
pub(in crate::proxy) async fn exchange(
    worker: &Rc<Worker>,
    connection: Connection,
    outgoing: Outgoing,
) -> Result<Response<Incoming>, Failed> {
    let mut exchange = Exchange {
        connection,
        outgoing,
        sent: false,
        heard: false,
        takes_no_more: false,
        scan: Scan::lenient(),
        informational: 0,
    };
    after_others().await;
    match poll_fn(|cx| exchange.poll_head(cx)).await {
        Ok(head) => Ok(exchange.answered(worker, head)),
        Err(reason) => Err(exchange.failed(reason)),
    }
}

struct Exchange {
    connection: Connection,
    outgoing: Outgoing,
    /// All of the request is written.
    sent: bool,
    /// Something of a response has come.
    heard: bool,
    /// The upstream takes no more of the request; it may have answered all the same.
    takes_no_more: bool,
    scan: Scan,
    informational: u32,
}

impl Exchange {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Reason>> {
        if !self.sent && !self.takes_no_more {
            match self.outgoing.poll_send(cx, &mut self.connection.stream) {
                Poll::Ready(Ok(())) => self.sent = true,
                Poll::Ready(Err(Stopped::Client(error))) => {
                    debug!(%error, "client broke its body off");
                    return Poll::Ready(Err(Reason::UpstreamConnection));
                }
                Poll::Ready(Err(Stopped::Upstream(error))) => {
                    debug!(endpoint = %self.connection.endpoint, %error, "upstream takes no more");
                    self.takes_no_more = true;
                }
                Poll::Pending => {}
            }
        }
        loop {
            if let Some(head) = self.head()? {
                return Poll::Ready(Ok(head));
            }
            let reason = match ready!(self.connection.poll_fill(cx)) {
                Ok(1..) => {
                    self.heard = true;
                    continue;
                }
                Ok(0) if self.heard => Reason::UpstreamProtocol,
                Ok(_) | Err(_) => Reason::UpstreamConnection,
            };
            debug!(endpoint = %self.connection.endpoint, "upstream closed before it answered");
            return Poll::Ready(Err(reason));
        }
    }

    /// The head of the response, if it is there; informational ones are passed over.
    fn head(&mut self) -> Result<Option<ResponseHead>, Reason> {
        loop {
            let input = &mut self.connection.input;
            let found = self.scan.end(input).map_err(|_| Reason::UpstreamProtocol)?;
            let Some(end) = found.filter(|end| *end <= MOST_HEAD) else {
                return if input.len() > MOST_HEAD {
                    Err(Reason::UpstreamProtocol)
                } else {
                    Ok(None)
                };
            };
            let bytes = input.split_to(end).freeze();
            let head = head::response(&bytes, self.outgoing.head, MOST_HEADERS)?;
            let status = head.response.status();
            if !status.is_informational() {
                return Ok(Some(head));
            }
            self.informational += 1;
            // No upgrade was asked for.
            if status == StatusCode::SWITCHING_PROTOCOLS || self.informational > MOST_INFORMATIONAL
            {
                return Err(Reason::UpstreamProtocol);
            }
            self.scan = Scan::lenient();
        }
    }

    fn answered(self, worker: &Rc<Worker>, head: ResponseHead) -> Response<Incoming> {
        let ResponseHead { response, length, keep_alive } = head;
        let Self { connection, mut outgoing, sent, takes_no_more, .. } = self;
        if sent && let Some(buffer) = std::mem::take(&mut outgoing.gather).into_buffer() {
            worker.give_buffer(buffer);
        }
        let outgoing = (!sent && !takes_no_more).then(|| Box::new(outgoing));
        let mut body = Body {
            worker: Rc::clone(worker),
            connection: Some(connection),
            outgoing,
            decoder: Decoder::new(length),
            keep_alive: keep_alive && !takes_no_more,
        };
        body.finish_if_done();
        response.map(|()| Incoming::Upstream(Box::new(body)))
    }

    fn failed(mut self, reason: Reason) -> Failed {
        let again = !self.heard
            && reason == Reason::UpstreamConnection
            && (self.outgoing.repeatable || self.outgoing.gather.is_untouched());
        self.outgoing.gather.rewind();
        Failed { reason, again: again.then_some(self.outgoing) }
    }
}

/// The body of a response. Once it is read, its connection serves the next request.
pub(in crate::proxy) struct Body {
    worker: Rc<Worker>,
    connection: Option<Connection>,
    /// What is still to be sent of the request.
    outgoing: Option<Box<Outgoing>>,
    decoder: Decoder,
    keep_alive: bool,
}

impl Body {
    /// As [`hyper::body::Body::poll_frame`].
    pub(in crate::proxy) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broke>>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        if let Some(outgoing) = &mut self.outgoing {
            match outgoing.poll_send(cx, &mut connection.stream) {
                Poll::Ready(Ok(())) => self.outgoing = None,
                Poll::Ready(Err(Stopped::Client(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Err(Stopped::Upstream(_))) => {
                    self.outgoing = None;
                    self.keep_alive = false;
                }
                Poll::Pending => {}
            }
        }
        loop {
            let frame = match self.decoder.decode(&mut connection.input) {
                Ok(Decoded::Data(data)) => Some(Frame::data(data)),
                Ok(Decoded::Trailers(trailers)) => Some(Frame::trailers(trailers)),
                Ok(Decoded::Done) => None,
                Ok(Decoded::More) => match ready!(connection.poll_fill(cx)) {
                    Ok(0) => match self.decoder.closed() {
                        Ok(()) => None,
                        Err(Broken) => return Poll::Ready(Some(Err(Broke::Short))),
                    },
                    Ok(_) => continue,
                    Err(error) => return Poll::Ready(Some(Err(error.into()))),
                },
                Err(Broken) => return Poll::Ready(Some(Err(Broke::Framing))),
            };
            self.finish_if_done();
            return Poll::Ready(frame.map(Ok));
        }
    }

    fn finish_if_done(&mut self) {
        if !self.decoder.is_done() {
            return;
        }
        let Some(mut connection) = self.connection.take() else { return };
        // Bytes beyond the response belong to nobody.
        if self.keep_alive && self.outgoing.is_none() && connection.input.is_empty() {
            connection.rest();
            self.worker.pool().give_back(connection.endpoint, connection);
        }
    }

    /// As [`hyper::body::Body::is_end_stream`].
    pub(in crate::proxy) fn is_end_stream(&self) -> bool {
        self.connection.is_none()
    }

    /// As [`hyper::body::Body::size_hint`].
    pub(in crate::proxy) fn size_hint(&self) -> SizeHint {
        self.decoder.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Body").field("decoder", &self.decoder).finish_non_exhaustive()
    }
}
