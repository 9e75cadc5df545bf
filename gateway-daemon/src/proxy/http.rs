//! Stage 3: HTTP/1.1 and HTTP/2 by hyper, limits, deadlines, framing refusals; makes the
//! `RequestView`.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tracing::debug;

use super::accept::Connection;
use super::count::RequestRecord;
use super::respond::Rejection;
use super::stream::{Screened, Socket};
use super::worker::Worker;
use crate::clock;
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
    let mut first = BytesMut::with_capacity(1024);
    let timeout = worker.limits().head_timeout;
    let read = tokio::time::timeout(timeout, read_first(&mut socket, &mut first)).await;
    match read {
        Ok(Ok(h2)) => {
            conn.touch();
            serve_stream(worker, socket, conn, first.freeze(), h2).await;
        }
        Ok(Err(error)) => debug!(%error, "client gone before its first request"),
        Err(_) if first.is_empty() => {}
        Err(_) => head_timed_out(worker, conn, socket).await,
    }
}

/// Serves a connection over TLS.
pub(super) async fn serve_tls<S>(worker: &Rc<Worker>, stream: S, conn: &Rc<Connection>, h2: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    serve_stream(worker, stream, conn, Bytes::new(), h2).await;
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

async fn serve_stream<S>(
    worker: &Rc<Worker>,
    stream: S,
    conn: &Rc<Connection>,
    first: Bytes,
    h2: bool,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    if h2 {
        let io = Screened::http2(stream, Rc::clone(conn), first);
        conn.set_in_head(false);
        serve_h2(worker, io, conn).await;
    } else {
        let io = Screened::http1(stream, Rc::clone(conn), first);
        serve_h1(worker, io, conn).await;
    }
}

/// How hyper's part of a connection ended.
enum End {
    /// By itself, or drained.
    Closed(hyper::Result<()>),
    /// By our deadline.
    DeadlinePassed,
}

async fn serve_h1<S>(worker: &Rc<Worker>, io: Screened<S>, conn: &Rc<Connection>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let limits = worker.limits();
    let service = service_fn(|request: Request<Incoming>| {
        // Opened here and not in the future, which hyper may drop before it polls it once.
        let record = RequestRecord::open(worker, conn);
        let (worker, conn) = (Rc::clone(worker), Rc::clone(conn));
        async move { Ok::<_, Infallible>(super::answer(&worker, &conn, request, record).await) }
    });
    let mut hyper = http1::Builder::new()
        .max_headers(limits.max_headers as usize)
        .max_buf_size(limits.max_head_bytes as usize)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(io), service);
    let end = drive(worker, conn, Pin::new(&mut hyper), http1::Connection::graceful_shutdown).await;
    match end {
        End::Closed(Ok(())) => {}
        End::Closed(Err(error)) => refused_by_hyper(worker, conn, &error),
        End::DeadlinePassed if conn.in_flight() == 0 && conn.head_under_way() => {
            head_timed_out(worker, conn, hyper.into_parts().io.into_inner()).await;
        }
        End::DeadlinePassed => debug!(client = %conn.meta().peer, "idle connection closed"),
    }
    if conn.framing_refusal().is_some() {
        linger(&conn.socket()).await;
    }
}

async fn serve_h2<S>(worker: &Rc<Worker>, io: Screened<S>, conn: &Rc<Connection>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let limits = worker.limits();
    let service = service_fn(|request: Request<Incoming>| {
        // Opened here and not in the future, which hyper may drop before it polls it once.
        let record = RequestRecord::open(worker, conn);
        let (worker, conn) = (Rc::clone(worker), Rc::clone(conn));
        async move { Ok::<_, Infallible>(super::answer(&worker, &conn, request, record).await) }
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
    let end = drive(worker, conn, hyper.as_mut(), http2::Connection::graceful_shutdown).await;
    match end {
        End::Closed(Ok(())) => {}
        End::Closed(Err(error)) => debug!(client = %conn.meta().peer, %error, "HTTP/2 ended"),
        End::DeadlinePassed => {
            // Idle: a GOAWAY, and no more than a moment for the client to read it.
            hyper.as_mut().graceful_shutdown();
            if tokio::time::timeout(Duration::from_secs(1), hyper).await.is_err() {
                debug!(client = %conn.meta().peer, "HTTP/2 client did not close");
            }
        }
    }
}

/// Polls hyper's connection, our deadline and the drain.
async fn drive<C>(
    worker: &Worker,
    conn: &Connection,
    mut hyper: Pin<&mut C>,
    graceful_shutdown: fn(Pin<&mut C>),
) -> End
where
    C: Future<Output = hyper::Result<()>>,
{
    let limits = worker.limits();
    let mut sleep = pin!(tokio::time::sleep_until(conn.deadline(limits).into()));
    let mut drain = pin!(worker.draining().wait());
    let mut draining = false;
    poll_fn(|cx| {
        if !draining && drain.as_mut().poll(cx).is_ready() {
            draining = true;
            graceful_shutdown(hyper.as_mut());
        }
        if let Poll::Ready(result) = hyper.as_mut().poll(cx) {
            return Poll::Ready(End::Closed(result));
        }
        // The deadline moves with every byte; the timer only when it fires, or when a head has
        // begun that must be complete sooner.
        let deadline = conn.deadline(limits);
        if deadline < sleep.deadline().into_std() {
            sleep.as_mut().reset(deadline.into());
        }
        while sleep.as_mut().poll(cx).is_ready() {
            let deadline = conn.deadline(limits);
            if deadline <= clock::monotonic() {
                return Poll::Ready(End::DeadlinePassed);
            }
            sleep.as_mut().reset(deadline.into());
        }
        Poll::Pending
    })
    .await
}

/// hyper refused a head and has answered it; what is left is to count it.
fn refused_by_hyper(worker: &Rc<Worker>, conn: &Rc<Connection>, error: &hyper::Error) {
    debug!(client = %conn.meta().peer, %error, "HTTP/1 ended");
    if conn.in_flight() > 0 || !(error.is_parse() || error.is_incomplete_message()) {
        return; // counted with its request, or the connection broke between requests
    }
    let reason = match conn.framing_refusal() {
        Some(reason) => reason,
        None if error.is_parse_too_large() => Reason::HeadTooLarge,
        None if error.is_parse() => Reason::MalformedRequest,
        None => return,
    };
    RequestRecord::open(worker, conn).refuse(reason);
}

/// A head that took too long: 408, and closed.
async fn head_timed_out<S>(worker: &Rc<Worker>, conn: &Rc<Connection>, mut io: S)
where
    S: AsyncWrite + Unpin,
{
    const ANSWER: &[u8] =
        b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    RequestRecord::open(worker, conn).refuse(Reason::HeadTimeout);
    let answer = async {
        io.write_all(ANSWER).await?;
        io.shutdown().await
    };
    if !matches!(tokio::time::timeout(Duration::from_secs(1), answer).await, Ok(Ok(()))) {
        debug!(client = %conn.meta().peer, "client did not take its 408");
    }
}

/// Reads and forgets what a refused client still sends, within bounds, so that closing does not
/// reset the connection under the answer (RFC 9112 9.6).
async fn linger(socket: &Socket) {
    let mut socket = socket.clone();
    let discard = async {
        let mut scrap = [0; 4096];
        for _ in 0..64 {
            if matches!(socket.read(&mut scrap).await, Ok(0) | Err(_)) {
                break;
            }
        }
    };
    if tokio::time::timeout(Duration::from_millis(500), discard).await.is_err() {
        debug!("refused client kept its side open");
    }
}

/// Makes the one normalised reading of a request.
pub(super) fn read(
    worker: &Worker,
    conn: &ConnMeta,
    request: Request<Incoming>,
) -> Result<(RequestView, Incoming), Rejection> {
    let (parts, body) = request.into_parts();
    if parts.headers.len() > worker.limits().max_headers as usize {
        return Err(Rejection::from(Reason::HeadTooLarge));
    }
    let view = RequestView::read(parts, conn)?;
    Ok((view, body))
}
