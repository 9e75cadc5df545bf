//! Byte streams of clients: the socket, in clear or under TLS, and the watch over an HTTP/2 one.
//!
//! `Socket` is a shared TCP stream, so that writes can be held back while TLS, say, reads and writes. `Watched` notes activity for the connection's deadline.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::accept::Connection;

/// A client's TCP stream, shared within its worker.
///
/// Writes can be held back, so that several messages of TLS leave in one packet: what is held goes out
/// when it is flushed, when it becomes much, and before anybody waits for the client.
#[derive(Clone, Debug)]
pub(super) struct Socket(Rc<RefCell<Held>>);

#[derive(Debug)]
struct Held {
    stream: TcpStream,
    holding: bool,
    bytes: Vec<u8>,
    /// Bytes of those that are written.
    written: usize,
}

/// What is held at most.
const MOST_HELD: usize = 16 << 10;

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        let held = Held { stream, holding: false, bytes: Vec::new(), written: 0 };
        Self(Rc::new(RefCell::new(held)))
    }

    /// Whether flushing leaves what was written where it is.
    pub(super) fn hold(&self, holding: bool) {
        self.0.borrow_mut().holding = holding;
    }
}

impl Held {
    /// Writes out what is held.
    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.bytes.len() {
            let rest = &self.bytes[self.written..];
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        self.bytes = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Writes, or holds back.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        length: usize,
        hold: impl FnOnce(&mut Vec<u8>),
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if self.holding || !self.bytes.is_empty() {
            if self.bytes.len() + length <= MOST_HELD {
                hold(&mut self.bytes);
                return Poll::Ready(Ok(length));
            }
            ready!(self.poll_release(cx))?;
        }
        write(Pin::new(&mut self.stream), cx)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let held = &mut *self.0.borrow_mut();
        let read = Pin::new(&mut held.stream).poll_read(cx, buf);
        if read.is_pending()
            && let Poll::Ready(Err(error)) = held.poll_release(cx)
        {
            return Poll::Ready(Err(error));
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(
            cx,
            bytes.len(),
            |held| held.extend_from_slice(bytes),
            |stream, cx| stream.poll_write(cx, bytes),
        )
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(
            cx,
            slices.iter().map(|slice| slice.len()).sum(),
            |held| slices.iter().for_each(|slice| held.extend_from_slice(slice)),
            |stream, cx| stream.poll_write_vectored(cx, slices),
        )
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let held = &mut *self.0.borrow_mut();
        if held.holding {
            return Poll::Ready(Ok(()));
        }
        held.poll_release(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let held = &mut *self.0.borrow_mut();
        ready!(held.poll_release(cx))?;
        match ready!(Pin::new(&mut held.stream).poll_shutdown(cx)) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            other => Poll::Ready(other),
        }
    }
}

/// A client's bytes, without what TLS wraps them in.
#[derive(Debug)]
pub(super) enum Stream {
    /// In clear.
    Clear(Socket),
    /// Under TLS.
    Tls(Box<TlsStream<Socket>>),
}

/// Calls a method of whichever stream it is.
macro_rules! of_either {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Clear(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Stream::Tls(stream) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        of_either!(self, stream => stream.poll_read(cx, buf))
    }
}

impl Stream {
    /// Under TLS, holds back what is written from here on until the stream is shut down: it leaves
    /// with the alert that ends the session.
    pub(super) fn hold_for_close(&self) {
        if let Self::Tls(stream) = self {
            stream.get_ref().0.hold(true);
        }
    }
}

/// The longest piece that TLS is given at once; a multiple of a cache line.
///
/// rustls copies it into a record, behind a header of five bytes. From 4 KiB on glibc copies by `rep
/// movsb`, which some CPUs (AMD Zen 3) do at a third of their speed where source and destination are not
/// aligned alike.
pub(super) const TLS_PIECE: usize = 4032;
/// Pieces that are given at once: a full buffer of rustls.
const TLS_PIECES: usize = 16;

/// Gives slices to TLS in pieces; the rest is for the next call.
fn in_pieces<'s>(slices: &'s [io::IoSlice<'_>], pieces: &mut [io::IoSlice<'s>]) -> usize {
    let all = slices.iter().flat_map(|slice| slice.chunks(TLS_PIECE));
    let mut count = 0;
    for (place, piece) in pieces.iter_mut().zip(all) {
        *place = io::IoSlice::new(piece);
        count += 1;
    }
    count
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(stream) if bytes.len() <= TLS_PIECE => {
                Pin::new(&mut **stream).poll_write(cx, bytes)
            }
            tls @ Self::Tls(_) => Pin::new(tls).poll_write_vectored(cx, &[io::IoSlice::new(bytes)]),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Self::Tls(stream) => {
                let mut pieces = [io::IoSlice::new(&[]); TLS_PIECES];
                let count = in_pieces(slices, &mut pieces);
                Pin::new(&mut **stream).poll_write_vectored(cx, &pieces[..count])
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_either!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_either!(self, stream => stream.poll_shutdown(cx))
    }
}

/// What hyper reads HTTP/2 from and writes it to.
#[derive(Debug)]
pub(super) struct Watched {
    inner: Stream,
    connection: Rc<Connection>,
    /// Bytes read before the protocol was known.
    first: Bytes,
}

impl Watched {
    pub(super) fn new(inner: Stream, connection: Rc<Connection>, first: Bytes) -> Self {
        Self { inner, connection, first }
    }

    pub(super) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.first.is_empty() {
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        } else {
            let take = this.first.len().min(buf.remaining());
            buf.put_slice(&this.first[..take]);
            this.first.advance(take);
        }
        this.connection.touch_if_busy();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.connection.touch_if_busy();
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.connection.touch_if_busy();
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
