//! Messages as they are written: heads, chunks, trailers, and the buffer that gathers them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, HeaderName};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode};
use tokio::io::AsyncWrite;

use crate::proxy::respond::TEXT;
use crate::proxy::stream::TLS_PIECE;

/// Bodies up to this size are copied behind their head: one plain write instead of a vectored one,
/// and one TLS record.
const COPIED: usize = 8 << 10;
/// What a gathering buffer keeps for the next message.
const KEPT: usize = 32 << 10;

/// How a body is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Framing {
    /// There is none.
    Nothing,
    /// So many bytes are left to write.
    Exact(u64),
    /// In chunks, with trailers or without.
    Chunked,
    /// Until we close.
    UntilClose,
}

/// The start line and fields of a request, with what frames it.
pub(super) fn request_head(
    out: &mut Vec<u8>,
    method: &Method,
    target: Option<&PathAndQuery>,
    headers: &HeaderMap,
    framing: Framing,
) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.map_or("/", PathAndQuery::as_str).as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    framed_fields(out, headers, framing);
    out.extend_from_slice(b"\r\n");
}

/// The start line and fields of a response, with what frames it; `text` says that it is plain text.
pub(super) fn response_head(
    out: &mut Vec<u8>,
    status: StatusCode,
    headers: &HeaderMap,
    framing: Framing,
    text: bool,
    date: Option<&[u8]>,
    connection: Option<&str>,
) {
    if status == StatusCode::OK {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    } else {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(status.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    framed_fields(out, headers, framing);
    if text {
        out.extend_from_slice(b"content-type: ");
        out.extend_from_slice(TEXT.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if let Some(date) = date {
        out.extend_from_slice(b"date: ");
        out.extend_from_slice(date);
        out.extend_from_slice(b"\r\n");
    }
    if let Some(option) = connection {
        out.extend_from_slice(b"connection: ");
        out.extend_from_slice(option.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Fields, and what frames the body. A Content-Length that is there stays where it says what is
/// written, and where nothing is: then it is that of the body which a GET would have.
fn framed_fields(out: &mut Vec<u8>, headers: &HeaderMap, framing: Framing) {
    let said = headers.get(CONTENT_LENGTH);
    match framing {
        Framing::Nothing => fields(out, headers, |_| true),
        Framing::Exact(bytes) => {
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(bytes).as_bytes();
            if said.is_some_and(|said| said.as_bytes() == digits) {
                return fields(out, headers, |_| true);
            }
            fields(out, headers, |name| *name != CONTENT_LENGTH);
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(digits);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => {
            fields(out, headers, |name| *name != CONTENT_LENGTH);
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        Framing::UntilClose => fields(out, headers, |name| *name != CONTENT_LENGTH),
    }
}

fn fields(out: &mut Vec<u8>, headers: &HeaderMap, wanted: impl Fn(&HeaderName) -> bool) {
    for (name, value) in headers {
        if wanted(name) {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Bytes on their way out: what was copied, then data that was not, then what ends a chunk.
#[derive(Debug, Default)]
pub(super) struct Gather {
    copied: Vec<u8>,
    /// Bytes of `copied` that are written.
    written: usize,
    data: Bytes,
    tail: &'static [u8],
}

impl Gather {
    /// With the buffer of an earlier message.
    pub(super) fn reusing(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self { copied: buffer, ..Self::default() }
    }

    /// The buffer, for a later message.
    pub(super) fn into_buffer(self) -> Option<Vec<u8>> {
        (self.copied.capacity() <= KEPT).then_some(self.copied)
    }

    /// Where heads are written to.
    pub(super) fn head(&mut self) -> &mut Vec<u8> {
        &mut self.copied
    }

    /// Whether more can be added before it is written.
    pub(super) fn has_room(&self) -> bool {
        let waiting = self.copied.len() - self.written;
        self.data.is_empty() && self.tail.is_empty() && waiting < KEPT
    }

    /// Whether all is written.
    pub(super) fn is_empty(&self) -> bool {
        self.written == self.copied.len() && self.data.is_empty() && self.tail.is_empty()
    }

    /// Whether nothing was written of what was gathered first.
    pub(super) fn is_untouched(&self) -> bool {
        self.written == 0
    }

    /// Begins again with what was gathered first, if that is all there was.
    pub(super) fn rewind(&mut self) {
        self.written = 0;
    }

    /// Adds data of a body; there has to be room.
    pub(super) fn push(&mut self, data: Bytes, framing: Framing) {
        if data.is_empty() {
            return; // an empty chunk would be the last one
        }
        self.forget_written();
        let chunked = framing == Framing::Chunked;
        if chunked {
            push_size(&mut self.copied, data.len());
        }
        let tail: &'static [u8] = if chunked { b"\r\n" } else { b"" };
        if data.len() <= COPIED {
            // Piece by piece: see `TLS_PIECE`.
            for piece in data.chunks(TLS_PIECE) {
                self.copied.extend_from_slice(piece);
            }
            self.copied.extend_from_slice(tail);
        } else {
            self.data = data;
            self.tail = tail;
        }
    }

    fn forget_written(&mut self) {
        if self.written == self.copied.len() || self.written > KEPT {
            self.copied.drain(..self.written);
            self.written = 0;
        }
    }

    /// Adds the end of a body in chunks.
    pub(super) fn push_end(&mut self, trailers: Option<&HeaderMap>) {
        self.forget_written();
        self.copied.extend_from_slice(b"0\r\n");
        if let Some(trailers) = trailers {
            fields(&mut self.copied, trailers, |_| true);
        }
        self.copied.extend_from_slice(b"\r\n");
    }

    /// Writes all of it.
    pub(super) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let copied = &self.copied[self.written..];
            let to = Pin::new(&mut *to);
            let written = if self.data.is_empty() && self.tail.is_empty() {
                ready!(to.poll_write(cx, copied))?
            } else {
                let slices = [copied, &self.data, self.tail].map(IoSlice::new);
                ready!(to.poll_write_vectored(cx, &slices))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        let copied = written.min(self.copied.len() - self.written);
        self.written += copied;
        written -= copied;
        let data = written.min(self.data.len());
        self.data.advance(data);
        if self.data.is_empty() {
            self.data = Bytes::new(); // free it before the tail is written
        }
        self.tail = &self.tail[(written - data).min(self.tail.len())..];
    }
}

/// A chunk's size line.
fn push_size(out: &mut Vec<u8>, size: usize) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.push(HEX[(size >> (digit * 4)) & 0xf]);
    }
    out.extend_from_slice(b"\r\n");
}
