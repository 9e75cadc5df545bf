//! The successor's side: the daemon that runs, and what it hands over.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gateway_common::abi::ABI_VERSION;

use super::message::{self, Item, Message, Offer, unknown};
use super::{HandoverError, PATIENCE, PROTOCOL, Place, is_trusted};
use crate::sys::channel::{Channel, Peer};

/// The daemon that runs.
#[derive(Debug)]
pub struct Predecessor {
    channel: Channel,
    peer: Peer,
    offer: Offer,
    files: Vec<(Item, OwnedFd)>,
}

impl Predecessor {
    /// Knocks; none if nobody is there, or not any more.
    pub fn find(place: &Place) -> Result<Option<Self>, HandoverError> {
        let talk = |source| HandoverError::Talk { pid: 0, source };
        let Some(channel) = Channel::connect(&place.0).map_err(talk)? else { return Ok(None) };
        let peer = channel.peer().map_err(talk)?;
        if !is_trusted(peer.uid) {
            return Err(HandoverError::Stranger { pid: peer.pid, uid: peer.uid });
        }
        channel.set_patience(Some(PATIENCE)).map_err(talk)?;
        match Self::ask(channel, peer) {
            Err(HandoverError::Gone { .. }) => Ok(None),
            result => result.map(Some),
        }
    }

    fn ask(channel: Channel, peer: Peer) -> Result<Self, HandoverError> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let hello = Message::Hello { protocol: PROTOCOL, abi: ABI_VERSION, version };
        message::send(&channel, peer, &hello, &[])?;
        let offer = match message::receive(&channel, peer)?.0 {
            Message::Offer(offer) => offer,
            Message::Refused { reason } => {
                return Err(HandoverError::Refused { pid: peer.pid, reason });
            }
            other => return Err(unknown(peer, &format!("{other:?}"))),
        };
        let mut files = Vec::new();
        while files.len() < offer.files {
            match message::receive(&channel, peer)? {
                (Message::Files(items), more) if !more.is_empty() && more.len() == items.len() => {
                    files.extend(items.into_iter().zip(more));
                }
                (other, _) => return Err(unknown(peer, &format!("{other:?}"))),
            }
        }
        Ok(Self { channel, peer, offer, files })
    }

    /// Its process; 0 where it cannot be seen.
    pub fn pid(&self) -> u32 {
        self.peer.pid
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.offer.version
    }

    /// Whether it hands over nothing but the right to start: it was relieved before and drains, and
    /// its successor has ended.
    pub fn is_draining(&self) -> bool {
        self.offer.draining
    }

    /// Its workers.
    pub fn workers(&self) -> u32 {
        self.offer.workers
    }

    /// Its secret of the flow hash.
    pub fn seed(&self) -> u64 {
        self.offer.seed
    }

    /// Takes the files of a kind that are left.
    pub fn take(&mut self, wanted: impl Fn(Item) -> bool) -> Vec<(Item, OwnedFd)> {
        self.files.extract_if(.., |(item, _)| wanted(*item)).collect()
    }

    /// Says that everything is there, and waits for the right to begin. Where the other one died
    /// meanwhile there is nobody left to ask.
    pub fn await_release(&self) -> Result<(), HandoverError> {
        // One that is gone may have said something before.
        match message::send(&self.channel, self.peer, &Message::Ready, &[]) {
            Ok(()) | Err(HandoverError::Gone { .. }) => {}
            Err(error) => return Err(error),
        }
        match message::receive(&self.channel, self.peer) {
            Ok((Message::Released, _)) => Ok(()),
            Ok((Message::Withdrawn { reason }, _)) => {
                Err(HandoverError::Refused { pid: self.peer.pid, reason })
            }
            Ok((other, _)) => Err(unknown(self.peer, &format!("{other:?}"))),
            Err(HandoverError::Gone { pid }) => {
                tracing::warn!(
                    pid,
                    "the predecessor died while it handed over; serving in its place"
                );
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Says that this daemon serves from here on. The other one and those that it relieved may
    /// still drain.
    pub fn relieve(mut self) -> Vec<Elder> {
        let mut elders: Vec<_> = self
            .take(|item| item == Item::Elder)
            .into_iter()
            .map(|(_, file)| Elder::of(file))
            .collect();
        if !self.is_draining()
            && let Err(error) = message::send(&self.channel, self.peer, &Message::Serving, &[])
        {
            tracing::warn!(%error, "the predecessor does not hear that it is relieved");
        }
        elders.push(Elder(self.channel));
        elders
    }
}

/// A daemon that was relieved, by this one or one before, and drains.
#[derive(Debug)]
pub struct Elder(Channel);

impl Elder {
    fn of(file: OwnedFd) -> Self {
        Self(file.into())
    }

    /// Waits until it has ended.
    pub fn ended(&self) {
        // The timeout is for the handover, which is over.
        if self.0.set_patience(None).is_ok() {
            while matches!(self.0.receive(), Ok(Some(_))) {}
        }
    }
}

impl AsFd for Elder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
