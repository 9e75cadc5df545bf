//! Bodies on their way: streamed, counted, and buffered only where a provider wants to see them.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::count::{RequestRecord, Upload};
use super::ext_authz::Replay;
use super::http1;
use super::route::Reserved;
use crate::clock::Moment;
use crate::model::reason::Reason;

/// A body as its peer sends it: a request's from a client, or a response's from an upstream.
#[derive(Debug)]
pub(super) enum Incoming {
    /// There is none.
    Nothing,
    /// Of a client that speaks HTTP/1.
    Client(http1::server::Body),
    /// Of an upstream that speaks HTTP/1.
    Upstream(Box<http1::client::Body>),
    /// Of either over HTTP/2.
    Http2(hyper::body::Incoming),
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Broke;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broke>>> {
        match self.get_mut() {
            Self::Nothing => Poll::Ready(None),
            Self::Client(body) => body.poll_frame(cx),
            Self::Upstream(body) => body.poll_frame(cx),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(Broke::Http2),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Client(body) => body.is_end_stream(),
            Self::Upstream(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Nothing => SizeHint::with_exact(0),
            Self::Client(body) => body.size_hint(),
            Self::Upstream(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

/// How a message broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broke {
    /// The peer closed before its end.
    #[error("closed before the end of the message")]
    Short,
    /// It is not as long as it was said to be.
    #[error("the body does not have the length that it was said to have")]
    Length,
    /// Its framing makes no sense.
    #[error("the body's framing is broken")]
    Framing,
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[from] std::io::Error),
    /// The HTTP/2 stream or its connection broke.
    #[error("HTTP/2 broke")]
    Http2(#[source] hyper::Error),
}

/// A request body on its way upstream.
#[derive(Debug)]
pub(super) enum RequestBody {
    /// None.
    Empty,
    /// Our own.
    Full(Option<Bytes>),
    /// Read in part already, for a provider to see.
    Replayed(Box<Replay>),
    /// As the client sends it; bytes are counted for its record.
    Streaming {
        /// From the client.
        incoming: Incoming,
        /// How it goes, for the record.
        upload: Rc<Upload>,
        /// What its trailers may not say.
        reserved: Option<Reserved>,
    },
}

impl RequestBody {
    /// The body of a client's request.
    pub(super) fn of(incoming: Incoming, record: &mut RequestRecord) -> Self {
        if incoming.is_end_stream() {
            Self::Empty
        } else {
            Self::Streaming { incoming, upload: record.begin_upload(), reserved: None }
        }
    }

    /// Keeps names that only the gateway writes out of its trailers: servers may take those for
    /// headers.
    pub(super) fn reserve(&mut self, names: impl FnOnce() -> Reserved) {
        match self {
            Self::Streaming { reserved, .. } => *reserved = Some(names()),
            Self::Replayed(replay) => replay.reserve(names()),
            Self::Empty | Self::Full(_) => {}
        }
    }

    /// A body of our own.
    pub(super) fn full(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Full(Some(bytes)) }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Broke;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broke>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Replayed(replay) => replay.poll_frame(cx),
            Self::Streaming { incoming, upload, reserved } => {
                let mut frame = ready!(Pin::new(incoming).poll_frame(cx));
                match &mut frame {
                    Some(Ok(frame)) => {
                        if let Some(reserved) = reserved {
                            reserved.strip(frame);
                        }
                        upload.bytes.set(upload.bytes.get() + data_length(frame));
                        upload.last.set(Moment::now());
                    }
                    Some(Err(_)) => upload.broken.set(true),
                    None => {}
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Replayed(replay) => replay.is_end_stream(),
            Self::Streaming { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Replayed(replay) => replay.size_hint(),
            Self::Streaming { incoming, .. } => incoming.size_hint(),
        }
    }
}

/// A response body on its way to the client.
pub(super) enum ResponseBody {
    /// Our own words, or nothing.
    Full(Option<Bytes>),
    /// Our own words in plain text. Whoever writes the head says so, and how long they are: no map of
    /// headers is made for that.
    Text(Option<Bytes>),
    /// As the upstream sends it.
    Upstream(Box<UpstreamBody>),
}

/// So many bytes of our own are few.
const FEW: usize = 1 << 10;

impl ResponseBody {
    pub(super) fn full(bytes: Bytes) -> Self {
        Self::Full((!bytes.is_empty()).then_some(bytes))
    }

    /// Whether it is an answer of ours, and not an upstream's.
    pub(super) fn is_our_own(&self) -> bool {
        !matches!(self, Self::Upstream(_))
    }

    /// All of an answer of ours, unless that is much.
    pub(super) fn few_words(&self) -> Option<&[u8]> {
        match self {
            Self::Full(words) | Self::Text(words) => {
                Some(words.as_deref().unwrap_or_default()).filter(|words| words.len() <= FEW)
            }
            Self::Upstream(_) => None,
        }
    }

    /// Whether it is text whose head does not say so yet.
    pub(super) fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }
}

/// The upstream's answer, with what ends when it ends.
pub(super) struct UpstreamBody {
    incoming: Incoming,
    record: RequestRecord,
    stall: Option<Pin<Box<Sleep>>>,
    stall_after: Duration,
}

impl UpstreamBody {
    /// Takes the record; where there is no body, the request is complete at once.
    pub(super) fn stream(
        incoming: Incoming,
        mut record: RequestRecord,
        stall_after: Duration,
    ) -> ResponseBody {
        if incoming.is_end_stream() {
            record.complete();
            return ResponseBody::Full(None);
        }
        ResponseBody::Upstream(Box::new(Self { incoming, record, stall: None, stall_after }))
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.stall = None;
                self.record.add_response_bytes(data_length(&frame));
                if self.incoming.is_end_stream() {
                    self.record.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.record.fail(Reason::UpstreamProtocol);
                Poll::Ready(Some(Err(BodyError::Upstream(error))))
            }
            Poll::Ready(None) => {
                self.record.complete();
                Poll::Ready(None)
            }
            Poll::Pending => self.poll_stall(cx),
        }
    }

    /// An upstream that stops in the middle of its answer is given up.
    fn poll_stall(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let after = self.stall_after;
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(after)));
        ready!(stall.as_mut().poll(cx));
        self.record.fail(Reason::UpstreamTimeout);
        Poll::Ready(Some(Err(BodyError::Stalled)))
    }
}

/// Why a response body broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// The upstream's connection or framing broke.
    #[error("the upstream broke off its response")]
    Upstream(#[source] Broke),
    /// The upstream stopped sending.
    #[error("the upstream stopped in the middle of its response")]
    Stalled,
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Full(bytes) | Self::Text(bytes) => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Upstream(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) | Self::Text(bytes) => bytes.is_none(),
            Self::Upstream(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) | Self::Text(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            Self::Upstream(body) => body.incoming.size_hint(),
        }
    }
}

fn data_length(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, Bytes::len) as u64
}
