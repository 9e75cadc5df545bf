//! HTTP/1.1 (RFC 9112) on either side: heads, bodies and connections.
//!
//! Heads are parsed by httparse; what stands here are the rules around it: where a message ends,
//! what is refused because another server could read it differently, and what is written. The server
//! side is strict; of upstreams more is taken, but nothing that frames. Why not hyper:
//! `docs/decisions/0098-http1-of-our-own.md`.

pub(super) mod client;
mod decode;
mod encode;
mod head;
pub(super) mod server;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::mem;
use std::task::Poll;

use bytes::BytesMut;

use super::worker::INPUT_BYTES;
use crate::sys::allocator::BULK_BYTES;

/// What the first buffer of a read holds; one that a read filled is followed by one for bulk.
const FIRST_READ: usize = INPUT_BYTES;

/// Lets every task that is ready now run first.
///
/// A write wakes whoever waits for it at the other end, which costs more than the write where that
/// one sleeps. Written one right after the other, once all that was ready has been read, answers
/// find their readers awake.
async fn after_others() {
    let mut waited = false;
    poll_fn(|cx| {
        if mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// How much to read at once: more once the peer has filled a buffer, and little again for the next
/// message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ReadSize {
    #[default]
    First,
    Bulk,
}

impl ReadSize {
    /// Makes room for a read, if there is less than `least`.
    fn make_room(self, input: &mut BytesMut, least: usize) {
        if !input.is_empty() {
            if input.capacity() - input.len() < least {
                input.reserve(self.bytes());
            }
        } else if self == Self::Bulk
            || !(input.capacity() >= least || input.try_reclaim(FIRST_READ))
        {
            // Growing it would copy what nobody reads any more. For bulk there is a buffer that another
            // connection just gave back: its bytes are in the CPU's cache.
            drop(mem::take(input));
            *input = BytesMut::with_capacity(self.bytes());
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::First => FIRST_READ,
            Self::Bulk => BULK_BYTES,
        }
    }

    /// Learns from a read of `bytes` into a buffer that had room for `room`.
    fn learn(&mut self, bytes: usize, room: usize) {
        if bytes == room {
            *self = Self::Bulk;
        }
    }

    /// Lets go of a buffer for bulk that has nothing to hold yet.
    fn release(self, input: &mut BytesMut) {
        if self == Self::Bulk && input.is_empty() {
            drop(mem::take(input));
        }
    }
}
