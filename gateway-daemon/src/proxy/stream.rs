//! Byte streams of clients: the socket, and the view of it that hyper reads from.
//!
//! `Socket` is a shared TCP stream, so that the socket's mark can be changed while hyper owns the
//! reading and writing. `Screened` runs the framing screen over what is read and notes activity
//! for the connection's deadline.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::accept::Connection;
use super::framing::Framing;

/// A client's TCP stream, shared within its worker.
#[derive(Clone, Debug)]
pub(super) struct Socket(pub(super) Rc<TcpStream>);

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read_buf(buf) {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Socket {
    fn poll_try_write(
        &self,
        cx: &mut Context<'_>,
        attempt: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match attempt(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_try_write(cx, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_try_write(cx, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // the kernel's socket buffer is all there is
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = socket2::SockRef::from(&*self.0).shutdown(std::net::Shutdown::Write);
        Poll::Ready(match result {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            other => other,
        })
    }
}

/// What hyper reads from and writes to.
#[derive(Debug)]
pub(super) struct Screened<S> {
    inner: S,
    connection: Rc<Connection>,
    /// Bytes read before the protocol was known.
    first: Bytes,
    /// The framing screen; none for HTTP/2, whose framing h2 checks.
    framing: Option<Framing>,
    /// After a violation nothing more is read.
    refused: bool,
}

impl<S> Screened<S> {
    /// For HTTP/1.
    pub(super) fn http1(inner: S, connection: Rc<Connection>, first: Bytes) -> Self {
        Self { inner, connection, first, framing: Some(Framing::new()), refused: false }
    }

    /// For HTTP/2.
    pub(super) fn http2(inner: S, connection: Rc<Connection>, first: Bytes) -> Self {
        Self { inner, connection, first, framing: None, refused: false }
    }

    fn wrote(&self) {
        match self.framing {
            Some(_) => self.connection.touch(),
            None => self.connection.touch_if_busy(),
        }
    }

    /// Screens what was just read: bytes from `before` on in `buf`.
    ///
    /// On a violation the offending byte becomes a NUL, which no part of a head or chunk line may
    /// hold: hyper answers 400 and closes.
    fn screen(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let Some(framing) = &mut self.framing else { return self.connection.touch_if_busy() };
        self.connection.touch();
        if let Err(violation) = framing.inspect(&buf.filled()[before..]) {
            self.refused = true;
            self.connection.refuse_framing(violation.reason);
            buf.filled_mut()[before + violation.good] = 0;
            buf.set_filled(before + violation.good + 1);
        }
        self.connection.set_in_head(framing.in_head());
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Screened<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.refused {
            return Poll::Ready(Ok(())); // end of stream
        }
        let before = buf.filled().len();
        if this.first.is_empty() {
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        } else {
            let take = this.first.len().min(buf.remaining());
            buf.put_slice(&this.first[..take]);
            this.first.advance(take);
        }
        if buf.filled().len() > before {
            this.screen(buf, before);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Screened<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.wrote();
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.wrote();
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
