//! The messages: JSON, a message each. Later versions may add fields; what changes its meaning
//! takes another number of the protocol.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::HandoverError;
use crate::sys::channel::{Channel, Peer};

/// What an open file that is handed over is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// The lock of the pin directory.
    Lock,
    /// The admin listener.
    Admin,
    /// A socket that the kernel half steers to, of a worker.
    Worker {
        /// The worker's number.
        worker: u32,
        /// Whether it is for IPv6.
        v6: bool,
    },
    /// A socket that is bound to a listener's address.
    Listener,
    /// An array of counters, in the order in which they are always given.
    Counters,
    /// The way to a daemon that was relieved before and still drains.
    Elder,
}

/// What the two sides say.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    /// The successor: who it is.
    Hello { protocol: u32, abi: u32, version: String },
    /// The predecessor: it hands over so many files, which the next messages bring.
    Offer(Offer),
    /// Some of those, and what they are.
    Files(Vec<Item>),
    /// The predecessor: no.
    Refused { reason: String },
    /// The successor: everything is there but the right to begin.
    Ready,
    /// The predecessor: begin.
    Released,
    /// The predecessor: it takes back its offer.
    Withdrawn { reason: String },
    /// The successor: it has begun.
    Serving,
}

/// What is handed over.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Offer {
    /// The predecessor's version.
    pub(super) version: String,
    /// It was relieved before, and its successor has ended: all that is left is the lock.
    pub(super) draining: bool,
    /// Its workers.
    pub(super) workers: u32,
    /// Its secret of the flow hash.
    pub(super) seed: u64,
    /// How many files.
    pub(super) files: usize,
}

/// Sends a message.
pub(super) fn send(
    channel: &Channel,
    peer: Peer,
    message: &Message,
    files: &[BorrowedFd<'_>],
) -> Result<(), HandoverError> {
    let talk = |source| HandoverError::Talk { pid: peer.pid, source };
    let text = serde_json::to_vec(message).map_err(|error| talk(error.into()))?;
    channel.send(&text, files).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            HandoverError::Gone { pid: peer.pid }
        }
        _ => talk(error),
    })
}

/// The next message.
pub(super) fn receive(
    channel: &Channel,
    peer: Peer,
) -> Result<(Message, Vec<OwnedFd>), HandoverError> {
    let received =
        channel.receive().map_err(|source| HandoverError::Talk { pid: peer.pid, source })?;
    let Some((text, files)) = received else { return Err(HandoverError::Gone { pid: peer.pid }) };
    match serde_json::from_slice(&text) {
        Ok(message) => Ok((message, files)),
        Err(_) => Err(unknown(peer, &String::from_utf8_lossy(&text))),
    }
}

/// What was said makes no sense here.
pub(super) fn unknown(peer: Peer, said: &str) -> HandoverError {
    HandoverError::Unknown { pid: peer.pid, said: said.chars().take(80).collect() }
}
