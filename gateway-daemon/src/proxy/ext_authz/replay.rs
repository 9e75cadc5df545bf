//! A request body that was read for a provider to see, and still has to reach the upstream.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};

use crate::proxy::body::{Broke, RequestBody};
use crate::proxy::route::Reserved;

/// What was read comes first, then the rest.
#[derive(Debug)]
pub(crate) struct Replay {
    read: VecDeque<Frame<Bytes>>,
    rest: RequestBody,
    reserved: Option<Reserved>,
}

/// Reads until there is more than `most`, or nothing more.
pub(super) async fn read_ahead(body: &mut RequestBody, most: usize) -> Result<(), Broke> {
    let rest = std::mem::replace(body, RequestBody::Empty);
    let mut replay = match rest {
        RequestBody::Empty => return Ok(()),
        RequestBody::Replayed(replay) => replay,
        rest => Box::new(Replay { read: VecDeque::new(), rest, reserved: None }),
    };
    while replay.length() <= most {
        let frame = poll_fn(|cx| Pin::new(&mut replay.rest).poll_frame(cx)).await;
        let Some(frame) = frame else {
            replay.rest = RequestBody::Empty;
            break;
        };
        replay.read.push_back(frame?);
    }
    *body = RequestBody::Replayed(replay);
    Ok(())
}

/// The first bytes of what was read, and whether there are more.
pub(super) fn beginning(body: &RequestBody, most: usize) -> (Bytes, bool) {
    let RequestBody::Replayed(replay) = body else { return (Bytes::new(), false) };
    let mut bytes = BytesMut::with_capacity(replay.length().min(most));
    for data in replay.read.iter().filter_map(Frame::data_ref) {
        let room = most - bytes.len();
        bytes.extend_from_slice(&data[..data.len().min(room)]);
    }
    let partial = replay.length() > most;
    (bytes.freeze(), partial)
}

impl Replay {
    fn length(&self) -> usize {
        self.read.iter().filter_map(Frame::data_ref).map(Bytes::len).sum()
    }

    /// As [`RequestBody::reserve`].
    pub(in crate::proxy) fn reserve(&mut self, names: Reserved) {
        self.rest.reserve(|| names.clone());
        self.reserved = Some(names);
    }

    /// As [`Body::poll_frame`].
    pub(in crate::proxy) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broke>>> {
        match self.read.pop_front() {
            Some(mut frame) => {
                if let Some(reserved) = &self.reserved {
                    reserved.strip(&mut frame);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    /// As [`Body::is_end_stream`].
    pub(in crate::proxy) fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    /// As [`Body::size_hint`]. With trailers nothing is promised: HTTP/1 has room for them only
    /// where the length is not told.
    pub(in crate::proxy) fn size_hint(&self) -> SizeHint {
        let read = self.length() as u64;
        match self.rest.size_hint().exact() {
            Some(rest) if !self.read.iter().any(Frame::is_trailers) => {
                SizeHint::with_exact(read + rest)
            }
            _ => SizeHint::default(),
        }
    }
}
