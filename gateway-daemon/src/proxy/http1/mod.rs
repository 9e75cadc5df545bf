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
use std::task::Poll;

use bytes::BytesMut;

use super::worker::INPUT_BYTES;

/// What the first buffer of a read holds; a read that fills it doubles the next.
const FIRST_READ: usize = INPUT_BYTES;
/// The largest buffer of a read.
const MOST_READ: usize = 256 << 10;

/// Lets every task that is ready now run first.
///
/// A write wakes whoever waits for it at the other end, which costs more than the write where that
/// one sleeps. Written one right after the other, once all that was ready has been read, answers
/// find their readers awake.
async fn after_others() {
    let mut waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// How much to read at once: more while the peer fills it, and little again for the next message.
#[derive(Clone, Copy, Debug)]
struct ReadSize(usize);

impl Default for ReadSize {
    fn default() -> Self {
        Self(FIRST_READ)
    }
}

impl ReadSize {
    /// Makes room for a read, if there is none to speak of.
    fn make_room(self, input: &mut BytesMut) {
        if input.capacity() - input.len() >= FIRST_READ / 4 {
            return;
        }
        if !input.is_empty() {
            input.reserve(self.0);
        } else if !input.try_reclaim(self.0) {
            // Growing it would copy what nobody reads any more.
            *input = BytesMut::with_capacity(self.0);
        }
    }

    /// Learns from a read of `bytes` into a buffer that had room for `room`.
    fn learn(&mut self, bytes: usize, room: usize) {
        if bytes == room {
            self.0 = (self.0 * 2).min(MOST_READ);
        }
    }
}
