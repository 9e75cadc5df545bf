//! A client's connection: one request after the other, each answered by the pipeline.
//!
//! Everything of a connection happens in its one task: reading heads, the request's body while the
//! pipeline asks for it, and writing the answer. While an answer is awaited, the client is watched, so
//! that one who has gone ends its request.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE};
use http::{HeaderMap, Response, StatusCode};
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tracing::debug;

use super::decode::{Broken, Decoded, Decoder, Length};
use super::encode::{self, Framing, Gather};
use super::head::{self, Announced, Asked, RequestHead, Scan};
use super::{FIRST_READ, ReadSize, after_others};
use crate::model::reason::Reason;
use crate::proxy::accept::Connection;
use crate::proxy::body::{Broke, Incoming, ResponseBody};
use crate::proxy::count::RequestRecord;
use crate::proxy::http::{End, drive};
use crate::proxy::respond;
use crate::proxy::stream::Stream;
use crate::proxy::worker::Worker;

/// What the client sends ahead, while its request is answered, waits here up to this size.
const READ_AHEAD: usize = 64 << 10;
/// How much of a request's body that nobody wanted is read so that the connection can go on.
const DISCARDED: u64 = 256 << 10;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Serves a connection to its end. `first` was read from it already.
pub(in crate::proxy) async fn serve(
    worker: &Rc<Worker>,
    conn: &Rc<Connection>,
    stream: Stream,
    first: BytesMut,
) {
    let io = Rc::new(Io::new(worker, conn, stream, first));
    let end = {
        let requests = pin!(requests(worker, conn, &io));
        drive(worker, conn, requests, worker.draining(), |_| {}).await
    };
    let close = match end {
        End::Closed(close) => close,
        End::DeadlinePassed if conn.in_flight() == 0 && conn.head_under_way() => {
            let refused = refuse(worker, conn, &io, Reason::HeadTimeout);
            let Ok(close) = tokio::time::timeout(Duration::from_secs(1), refused).await else {
                debug!(client = %conn.meta().client(), "client did not take its 408");
                return;
            };
            close
        }
        End::DeadlinePassed => {
            debug!(client = %conn.meta().client(), "idle connection closed");
            Close::Clean
        }
    };
    match close {
        Close::Broken => {}
        Close::Clean => io.close().await,
        Close::Lingering => {
            io.shut_down().await;
            io.linger().await;
        }
    }
}

/// How a connection is closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Close {
    /// It is gone already.
    Broken,
    Clean,
    /// The client may still be sending: closing at once could reset the connection under the answer
    /// (RFC 9112 9.6).
    Lingering,
}

/// One request after the other.
async fn requests(worker: &Rc<Worker>, conn: &Rc<Connection>, io: &Rc<Io>) -> Close {
    loop {
        let mut scan = Scan::default();
        let head = match poll_fn(|cx| io.poll_head(cx, worker, &mut scan)).await {
            Ok(Some(head)) => head,
            Ok(None) => return Close::Clean,
            Err(reason) => return refuse(worker, conn, io, reason).await,
        };
        let most = worker.limits().max_headers as usize;
        let RequestHead { request, asked } =
            match head::request(&head, most, |announced| io.begin(announced)) {
                Ok(head) => head,
                Err(reason) => return refuse(worker, conn, io, reason).await,
            };
        drop(head);
        let record = RequestRecord::open(worker, conn);
        let response = {
            // Boxed, for a connection between requests to be small; the same few blocks serve all.
            let mut answer = Box::pin(crate::proxy::answer(worker, conn, request, record));
            poll_fn(|cx| match answer.as_mut().poll(cx) {
                Poll::Ready(response) => Poll::Ready(Some(response)),
                Poll::Pending => io.poll_gone(cx).map(|()| None),
            })
            .await
        };
        let Some(response) = response else { return Close::Broken };
        match respond(worker, io, asked, response).await {
            Ok(true) => {}
            Ok(false) if io.is_read_up() => return Close::Clean,
            Ok(false) => return Close::Lingering,
            Err(error) => {
                debug!(client = %conn.meta().client(), %error, "answer broke off");
                return Close::Broken;
            }
        }
    }
}

/// Refuses what cannot be read as a request.
async fn refuse(worker: &Rc<Worker>, conn: &Rc<Connection>, io: &Rc<Io>, reason: Reason) -> Close {
    let record = RequestRecord::open(worker, conn);
    let response = respond::respond_unread(record.unanswered(reason), conn);
    match respond(worker, io, Asked::default(), response).await {
        Ok(_) => Close::Lingering,
        Err(_) => Close::Broken,
    }
}

/// Writes a response; whether the connection can serve another request.
async fn respond(
    worker: &Rc<Worker>,
    io: &Rc<Io>,
    asked: Asked,
    response: Response<ResponseBody>,
) -> Result<bool, Broke> {
    let (head, mut body) = response.into_parts();
    let framing = framing(asked, head.status, &head.headers, &body);
    if body.is_our_own() {
        // Nobody reads the request's body any more.
        io.discard();
    }
    let keep = asked.keep_alive
        && framing != Framing::UntilClose
        && !worker.leaving().is_closed()
        && (io.body.borrow().is_done() || !body.is_our_own())
        && !says_close(&head.headers);
    let connection = match (keep, asked.http10) {
        _ if head.headers.contains_key(CONNECTION) => None,
        (false, _) => Some("close"),
        (true, true) => Some("keep-alive"),
        (true, false) => None,
    };
    let mut gather = Gather::reusing(worker.take_buffer());
    let date = (!head.headers.contains_key(DATE)).then(|| worker.date());
    let date = date.as_ref().map(<[u8; 29]>::as_slice);
    let (out, text) = (gather.head(), body.is_text());
    encode::response_head(out, head.status, &head.headers, framing, text, date, connection);
    if let Some(words) = body.few_words() {
        if framing != Framing::Nothing {
            out.extend_from_slice(words);
        }
        after_others().await;
        poll_fn(|cx| io.poll_whole(cx, &mut gather, !keep)).await?;
    } else {
        let mut writer = Writer { gather, framing, asked, closes: !keep };
        after_others().await;
        poll_fn(|cx| writer.poll_body(cx, io, &mut body)).await?;
        gather = writer.gather;
    }
    if let Some(buffer) = gather.into_buffer() {
        worker.give_buffer(buffer);
    }
    io.discard();
    Ok(keep && io.body.borrow().is_done())
}

/// Whether a response of our own ends its connection.
fn says_close(headers: &HeaderMap) -> bool {
    headers.get(CONNECTION).is_some_and(|value| head::lists(value.as_bytes(), b"close"))
}

/// How a response's body is written (RFC 9112 6.3).
fn framing(asked: Asked, status: StatusCode, headers: &HeaderMap, body: &ResponseBody) -> Framing {
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if asked.head || bodiless || status.is_informational() {
        return Framing::Nothing;
    }
    if let Some(length) = body.size_hint().exact() {
        return Framing::Exact(length);
    }
    debug_assert!(!headers.contains_key(CONTENT_LENGTH), "a length that the body does not have");
    if asked.http10 { Framing::UntilClose } else { Framing::Chunked }
}

/// A response under way.
struct Writer {
    gather: Gather,
    framing: Framing,
    asked: Asked,
    /// The connection ends with this response.
    closes: bool,
}

impl Writer {
    /// Moves the body out, to its end.
    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        io: &Io,
        body: &mut ResponseBody,
    ) -> Poll<Result<(), Broke>> {
        let mut ended = false;
        loop {
            while !ended && self.gather.has_room() {
                let frame = match Pin::new(&mut *body).poll_frame(cx) {
                    Poll::Ready(frame) => frame,
                    Poll::Pending => break,
                };
                let at_end = body.is_end_stream();
                ended = self.take(frame, at_end)?;
            }
            if self.gather.is_empty() && !ended {
                // Nothing to write and nothing to read: the client may have gone.
                ready!(io.poll_flush(cx))?;
                ready!(io.poll_gone(cx));
                return Poll::Ready(Err(Broke::Short));
            }
            if ended && self.closes {
                io.stream.borrow().hold_for_close();
            }
            match io.poll_write(cx, &mut self.gather) {
                Poll::Ready(result) => result?,
                // The body is not at its end, or its end is gathered: both are found again.
                Poll::Pending => return Poll::Pending,
            }
            if ended {
                return io.poll_flush(cx).map_err(Broke::from);
            }
        }
    }

    /// Takes a frame; whether it was the last.
    fn take(
        &mut self,
        frame: Option<Result<Frame<Bytes>, crate::proxy::body::BodyError>>,
        at_end: bool,
    ) -> Result<bool, Broke> {
        let Some(frame) = frame.transpose().map_err(|_| Broke::Short)? else {
            return self.end(None);
        };
        match frame.into_data() {
            Ok(data) => {
                match &mut self.framing {
                    Framing::Nothing => {}
                    Framing::Exact(left) => {
                        *left = left.checked_sub(data.len() as u64).ok_or(Broke::Length)?;
                        self.gather.push(data, self.framing);
                    }
                    framing => self.gather.push(data, *framing),
                }
                if at_end { self.end(None) } else { Ok(false) }
            }
            Err(frame) => self.end(frame.into_trailers().ok().as_ref()),
        }
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<bool, Broke> {
        match self.framing {
            Framing::Exact(1..) => return Err(Broke::Length),
            Framing::Chunked => self.gather.push_end(trailers.filter(|_| self.asked.trailers)),
            _ => {}
        }
        // The end is gathered once.
        self.framing = Framing::Nothing;
        Ok(true)
    }
}

/// A client's connection as its task and the body of the request under way share it.
pub(in crate::proxy) struct Io {
    worker: Rc<Worker>,
    conn: Rc<Connection>,
    stream: RefCell<Stream>,
    input: RefCell<BytesMut>,
    read_size: Cell<ReadSize>,
    /// The body of the request under way.
    body: RefCell<Decoder>,
    /// Number of that request, so that a body which outlives its request reads no other's.
    request: Cell<u64>,
    /// Bytes of `100 Continue` that are still to be written.
    continue_left: Cell<Option<usize>>,
}

impl Io {
    fn new(worker: &Rc<Worker>, conn: &Rc<Connection>, stream: Stream, first: BytesMut) -> Self {
        Self {
            worker: Rc::clone(worker),
            conn: Rc::clone(conn),
            stream: RefCell::new(stream),
            input: RefCell::new(first),
            read_size: Cell::default(),
            body: RefCell::new(Decoder::new(Length::Exact(0))),
            request: Cell::new(0),
            continue_left: Cell::new(None),
        }
    }

    /// Begins the body of a request.
    fn begin(self: &Rc<Self>, announced: Announced) -> Incoming {
        let Announced { length, expects_continue } = announced;
        let number = self.request.get() + 1;
        self.request.set(number);
        self.continue_left.set(expects_continue.then_some(CONTINUE.len()));
        *self.body.borrow_mut() = Decoder::new(length);
        if length == Length::Exact(0) {
            return Incoming::Nothing;
        }
        Incoming::Client(Body { io: Rc::clone(self), number })
    }

    fn poll_fill(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut input = self.input.borrow_mut();
        let mut read_size = self.read_size.get();
        if input.capacity() == 0 {
            *input = self.worker.take_input();
        }
        read_size.make_room(&mut input, FIRST_READ / 4);
        let room = input.capacity() - input.len();
        let mut stream = self.stream.borrow_mut();
        let Poll::Ready(read) = pin!(stream.read_buf(&mut *input)).poll(cx) else {
            read_size.release(&mut input);
            return Poll::Pending;
        };
        let read = read?;
        read_size.learn(read, room);
        self.read_size.set(read_size);
        self.conn.touch();
        Poll::Ready(Ok(read))
    }

    /// The next head; none where the client is done, or we are while it says nothing.
    fn poll_head(
        &self,
        cx: &mut Context<'_>,
        worker: &Worker,
        scan: &mut Scan,
    ) -> Poll<Result<Option<Bytes>, Reason>> {
        let most = worker.limits().max_head_bytes as usize;
        loop {
            let mut input = self.input.borrow_mut();
            if scan.is_fresh() {
                head::skip_empty_lines(&mut input);
            }
            let end = if input.is_empty() { None } else { scan.end(&input)? };
            if end.unwrap_or(input.len()) > most {
                return Poll::Ready(Err(Reason::HeadTooLarge));
            }
            if let Some(end) = end {
                self.conn.set_in_head(false);
                self.read_size.set(ReadSize::default());
                return Poll::Ready(Ok(Some(input.split_to(end).freeze())));
            }
            let silent = input.is_empty();
            drop(input);
            self.conn.set_in_head(!silent);
            match self.poll_fill(cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Ok(None)),
                Poll::Pending => {
                    if silent && worker.draining().is_closed() {
                        return Poll::Ready(Ok(None));
                    }
                    if silent {
                        // Who waits keeps no buffer.
                        self.worker.give_input(std::mem::take(&mut *self.input.borrow_mut()));
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Ready when the client has closed. Looks only where nobody else reads.
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.body.borrow().is_done() {
            return Poll::Pending;
        }
        while self.input.borrow().len() < READ_AHEAD {
            if let Ok(0) | Err(_) = ready!(self.poll_fill(cx)) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    fn poll_write(&self, cx: &mut Context<'_>, gather: &mut Gather) -> Poll<io::Result<()>> {
        self.continue_left.set(None); // the final response is on its way
        let written = gather.poll_write(cx, &mut *self.stream.borrow_mut());
        self.conn.touch();
        written
    }

    /// Writes all of a message that is gathered to its end.
    fn poll_whole(
        &self,
        cx: &mut Context<'_>,
        gather: &mut Gather,
        closes: bool,
    ) -> Poll<io::Result<()>> {
        if closes {
            self.stream.borrow().hold_for_close();
        }
        ready!(self.poll_write(cx, gather))?;
        self.poll_flush(cx)
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_flush(cx)
    }

    /// Tells a client that waits for it to send its body.
    fn poll_continue(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(left) = self.continue_left.get() {
            if left == 0 {
                ready!(self.poll_flush(cx))?;
                self.continue_left.set(None);
                break;
            }
            let rest = &CONTINUE[CONTINUE.len() - left..];
            let mut stream = self.stream.borrow_mut();
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, rest))?;
            self.continue_left.set(Some(left - written));
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the client has sent nothing that was not read.
    fn is_read_up(&self) -> bool {
        self.body.borrow().is_done() && self.input.borrow().is_empty()
    }

    /// Reads what is here of a body that nobody wants, up to a bound.
    fn discard(&self) {
        let mut body = self.body.borrow_mut();
        if body.is_done() {
            return;
        }
        let mut input = self.input.borrow_mut();
        if body.left().is_some_and(|left| left > DISCARDED) || self.continue_left.get().is_some() {
            return;
        }
        while let Ok(Decoded::Data(_) | Decoded::Trailers(_)) = body.decode(&mut input) {}
    }

    /// Ends TLS; for a stream in clear there is nothing to do that closing it does not do.
    async fn close(&self) {
        if matches!(*self.stream.borrow(), Stream::Tls(_)) {
            self.shut_down().await;
        }
    }

    async fn shut_down(&self) {
        let shut = poll_fn(|cx| Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(cx));
        let closed = tokio::time::timeout(Duration::from_secs(1), shut).await;
        if let Ok(Err(error)) = closed {
            debug!(client = %self.conn.meta().client(), %error, "client gone before we closed");
        }
    }

    /// Reads and forgets what a client still sends, within bounds.
    async fn linger(&self) {
        let mut left = 64;
        let discard = poll_fn(|cx| {
            while left > 0 {
                self.input.borrow_mut().clear();
                if let Ok(0) | Err(_) = ready!(self.poll_fill(cx)) {
                    break;
                }
                left -= 1;
            }
            Poll::Ready(())
        });
        if tokio::time::timeout(Duration::from_millis(500), discard).await.is_err() {
            debug!(client = %self.conn.meta().client(), "client kept its side open");
        }
    }
}

/// A request's body as the client sends it.
pub(in crate::proxy) struct Body {
    io: Rc<Io>,
    number: u64,
}

impl Body {
    /// As [`hyper::body::Body::poll_frame`].
    pub(in crate::proxy) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broke>>> {
        let io = &self.io;
        if io.request.get() != self.number {
            return Poll::Ready(Some(Err(Broke::Short)));
        }
        loop {
            let decoded = io.body.borrow_mut().decode(&mut io.input.borrow_mut());
            match decoded {
                Ok(Decoded::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Decoded::Trailers(map)) => return Poll::Ready(Some(Ok(Frame::trailers(map)))),
                Ok(Decoded::Done) => return Poll::Ready(None),
                Ok(Decoded::More) => {}
                Err(Broken) => {
                    io.conn.refuse_framing(Reason::AmbiguousFraming);
                    return Poll::Ready(Some(Err(Broke::Framing)));
                }
            }
            if let Err(error) = ready!(io.poll_continue(cx)) {
                return Poll::Ready(Some(Err(error.into())));
            }
            match ready!(io.poll_fill(cx)) {
                Ok(0) => return Poll::Ready(Some(Err(Broke::Short))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    /// As [`hyper::body::Body::is_end_stream`].
    pub(in crate::proxy) fn is_end_stream(&self) -> bool {
        self.io.request.get() == self.number && self.io.body.borrow().is_done()
    }

    /// As [`hyper::body::Body::size_hint`].
    pub(in crate::proxy) fn size_hint(&self) -> SizeHint {
        self.io.body.borrow().left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Body").field("decoder", &self.io.body).finish_non_exhaustive()
    }
}
