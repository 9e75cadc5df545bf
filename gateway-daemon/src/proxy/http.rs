//! Stage 3: HTTP/1.1 by `http1`, HTTP/2 by hyper, limits, deadlines; makes the `RequestView`.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::Request;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tracing::debug;

use super::accept::Connection;
use super::body::Incoming;
use super::count::RequestRecord;
use super::http1;
use super::respond::{self, Rejection};
use super::stream::{Socket, Stream, Watched};
use super::worker::{Closed, Worker};
use crate::clock::Moment;
use crate::model::reason::Reason;
use crate::request::{ConnMeta, RequestView};

/// The first bytes of HTTP/2 with prior knowledge (RFC 9113 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Spawns streams of HTTP/2 on the worker's own thread.
#[derive(Clone, Copy)]
pub(super) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// Serves a connection in clear: HTTP/2 where the client starts with its preface.
pub(super) async fn serve_clear(worker: &Rc<Worker>, mut socket: Socket, conn: &Rc<Connection>) {
    let mut first = worker.take_input();
    let timeout = worker.limits().head_timeout;
    let read = tokio::time::timeout(timeout, read_first(&mut socket, &mut first)).await;
    match read {
        Ok(Ok(true)) => {
            conn.touch();
            serve_h2(worker, Watched::new(Stream::Clear(socket), Rc::clone(conn), first.freeze()))
                .await;
        }
        Ok(Ok(false)) => {
            conn.touch();
            http1::server::serve(worker, conn, Stream::Clear(socket), first).await;
        }
        Ok(Err(error)) => debug!(%error, "client gone before its first request"),
        Err(_) if first.is_empty() => {}
        Err(_) => http1::server::serve(worker, conn, Stream::Clear(socket), first).await,
    }
}

/// Serves a connection over TLS.
pub(super) async fn serve_tls(
    worker: &Rc<Worker>,
    stream: Stream,
    conn: &Rc<Connection>,
    h2: bool,
) {
    if h2 {
        serve_h2(worker, Watched::new(stream, Rc::clone(conn), Bytes::new())).await;
    } else {
        http1::server::serve(worker, conn, stream, BytesMut::new()).await;
    }
}

/// Reads until it is known whether the client speaks HTTP/2.
async fn read_first(socket: &mut Socket, first: &mut BytesMut) -> io::Result<bool> {
    loop {
        if socket.read_buf(first).await? == 0 {
            return if first.is_empty() {
                Err(io::ErrorKind::UnexpectedEof.into())
            } else {
                Ok(false)
            };
        }
        let known = first.len().min(PREFACE.len());
        if first[..known] != PREFACE[..known] {
            return Ok(false);
        }
        if known == PREFACE.len() {
            return Ok(true);
        }
    }
}

async fn serve_h2(worker: &Rc<Worker>, io: Watched) {
    let conn = &Rc::clone(io.connection());
    conn.set_in_head(false);
    let limits = worker.limits();
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        // Opened here and not in the future, which hyper may drop before it polls it once.
        let record = RequestRecord::open(worker, conn);
        let (worker, conn) = (Rc::clone(worker), Rc::clone(conn));
        let request = Box::new(request.map(Incoming::Http2));
        async move {
            let mut response = super::answer(&worker, &conn, request, record).await;
            respond::spell_out(&mut response);
            Ok::<_, Infallible>(response)
        }
    });
    let mut hyper = pin!(
        http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.h2_max_streams)
            .max_header_list_size(limits.max_head_bytes)
            .max_pending_accept_reset_streams(limits.h2_max_pending_resets as usize)
            .max_local_error_reset_streams(limits.h2_max_pending_resets as usize)
            .serve_connection(TokioIo::new(io), service)
    );
    // GOAWAY first without and then with the last stream, so that none is lost (RFC 9113 6.8).
    let drain = worker.leaving();
    let end =
        drive(worker, conn, hyper.as_mut(), drain, http2::Connection::graceful_shutdown).await;
    match end {
        End::Closed(Ok(())) => {}
        End::Closed(Err(error)) => debug!(client = %conn.meta().client(), %error, "HTTP/2 ended"),
        End::DeadlinePassed => {
            // Idle: a GOAWAY, and no more than a moment for the client to read it.
            hyper.as_mut().graceful_shutdown();
            if tokio::time::timeout(Duration::from_secs(1), hyper).await.is_err() {
                debug!(client = %conn.meta().client(), "HTTP/2 client did not close");
            }
        }
    }
}

/// How serving a connection ended.
pub(super) enum End<T> {
    /// By itself, or drained.
    Closed(T),
    /// By our deadline.
    DeadlinePassed,
}

/// Polls what serves a connection, our deadline and the drain.
pub(super) async fn drive<C: Future>(
    worker: &Worker,
    conn: &Connection,
    mut serving: Pin<&mut C>,
    drain: &Closed,
    drain_begins: impl Fn(Pin<&mut C>),
) -> End<C::Output> {
    let limits = worker.limits();
    let mut wakes = conn.deadline(limits);
    let mut sleep = pin!(tokio::time::sleep(wakes.after(Moment::now())));
    let mut drain_wait = pin!(drain.wait());
    let (mut waits, mut draining) = (false, false);
    poll_fn(|cx| {
        // Asked once, it wakes this task, whose waker stays the same; whether that is what woke it, the
        // flag says.
        if !waits || (drain.is_closed() && !draining) {
            waits = true;
            if drain_wait.as_mut().poll(cx).is_ready() {
                draining = true;
                drain_begins(serving.as_mut());
            }
        }
        if let Poll::Ready(result) = serving.as_mut().poll(cx) {
            return Poll::Ready(End::Closed(result));
        }
        // The deadline moves with every byte; the timer only when it fires, or when a head has
        // begun that must be complete sooner.
        let deadline = conn.deadline(limits);
        if deadline < wakes {
            wakes = deadline;
            sleep.as_mut().reset(tokio::time::Instant::now() + wakes.after(Moment::now()));
        }
        while sleep.as_mut().poll(cx).is_ready() {
            wakes = conn.deadline(limits);
            let left = wakes.after(Moment::now());
            if left.is_zero() {
                return Poll::Ready(End::DeadlinePassed);
            }
            sleep.as_mut().reset(tokio::time::Instant::now() + left);
        }
        Poll::Pending
    })
    .await
}

/// Makes the one normalised reading of a request.
pub(super) fn read(
    worker: &Worker,
    conn: &Connection,
    meta: &ConnMeta,
    request: Box<Request<Incoming>>,
) -> Result<(Box<RequestView>, Incoming), Rejection> {
    let (parts, body) = request.into_parts();
    if parts.headers.len() > worker.limits().max_headers as usize {
        return Err(Rejection::from(Reason::HeadTooLarge));
    }
    let view = RequestView::read_after(parts, meta, conn.last_authority())?;
    Ok((Box::new(view), body))
}
