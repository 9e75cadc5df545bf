//! The predecessor's side: a door at which successors knock, and what it says to one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use gateway_common::abi::ABI_VERSION;

use super::message::{self, Item, Message, Offer, unknown};
use super::{HandoverError, PATIENCE, PROTOCOL, Place, is_trusted};
use crate::sys::channel::{Channel, FILES, Listener, Peer};

/// Where successors knock.
#[derive(Clone, Debug)]
pub struct Door(Arc<Listener>);

impl Door {
    /// Opens the door of a place; none if another daemon has it.
    pub fn open(place: &Place) -> io::Result<Option<Self>> {
        Ok(Listener::bind(&place.0)?.map(|listener| Self(Arc::new(listener))))
    }

    /// The next successor that may be one; others are told why not. An error once it is closed.
    pub fn visitor(&self) -> io::Result<Visitor> {
        loop {
            let channel = self.0.accept()?;
            match Visitor::of(channel) {
                Ok(visitor) => return Ok(visitor),
                Err(error) => tracing::warn!(%error, "a daemon that cannot take over"),
            }
        }
    }

    /// Nobody is let in any more.
    pub fn close(&self) {
        if let Err(error) = self.0.close() {
            tracing::warn!(%error, "cannot close the door to successors");
        }
    }
}

/// A daemon that wants to take over.
#[derive(Debug)]
pub struct Visitor {
    channel: Channel,
    peer: Peer,
    version: String,
}

impl Visitor {
    fn of(channel: Channel) -> Result<Self, HandoverError> {
        let peer = channel.peer().map_err(|source| HandoverError::Talk { pid: 0, source })?;
        let refuse = |reason: String| {
            message::send(&channel, peer, &Message::Refused { reason: reason.clone() }, &[])?;
            Err(HandoverError::Refused { pid: peer.pid, reason })
        };
        let talk = |source| HandoverError::Talk { pid: peer.pid, source };
        if !is_trusted(peer.uid) {
            return refuse(format!("user {} may not take over", peer.uid));
        }
        // A stranger that says nothing must not keep others out.
        channel.set_patience(Some(PATIENCE / 12)).map_err(talk)?;
        let (protocol, abi, version) = match message::receive(&channel, peer)?.0 {
            Message::Hello { protocol, abi, version } => (protocol, abi, version),
            other => return Err(unknown(peer, &format!("{other:?}"))),
        };
        if protocol != PROTOCOL {
            return refuse(format!(
                "version {version} hands over by protocol {protocol}, this one by {PROTOCOL}: stop \
                 the running one first"
            ));
        }
        if abi != ABI_VERSION {
            return refuse(format!(
                "version {version} has maps of layout {abi}, the running one of {ABI_VERSION}: \
                 stop the running one first"
            ));
        }
        channel.set_patience(Some(PATIENCE)).map_err(talk)?;
        Ok(Self { channel, peer, version })
    }

    /// Says no.
    pub fn refuse(self, reason: &str) -> Result<(), HandoverError> {
        let refused = Message::Refused { reason: reason.to_owned() };
        message::send(&self.channel, self.peer, &refused, &[])
    }

    /// Hands over; it will be the heir once it serves.
    pub fn offer(self, estate: &Estate<'_>) -> Result<Heir, HandoverError> {
        let Self { channel, peer, version } = self;
        message::send(&channel, peer, &Message::Offer(estate.offer.clone()), &[])?;
        for (items, files) in estate.items.chunks(FILES).zip(estate.files.chunks(FILES)) {
            message::send(&channel, peer, &Message::Files(items.to_vec()), files)?;
        }
        Ok(Heir { channel, peer, version, serves: false })
    }
}

fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// What is handed over.
#[derive(Debug, Default)]
pub struct Estate<'f> {
    offer: Offer,
    items: Vec<Item>,
    files: Vec<BorrowedFd<'f>>,
}

impl<'f> Estate<'f> {
    /// Of a daemon that serves with so many workers and this secret of the flow hash.
    pub fn serving(workers: u32, seed: u64) -> Self {
        let offer = Offer { version: version(), draining: false, workers, seed, files: 0 };
        Self { offer, ..Self::default() }
    }

    /// Of a daemon that was relieved and whose successor has ended.
    pub fn draining() -> Self {
        let offer = Offer { version: version(), draining: true, ..Offer::default() };
        Self { offer, ..Self::default() }
    }

    /// Adds a file.
    pub fn add(&mut self, item: Item, file: BorrowedFd<'f>) {
        self.items.push(item);
        self.files.push(file);
        self.offer.files += 1;
    }
}

/// The successor, from the offer on. Dropped before it serves, the offer is taken back: it would
/// take our silence for our end.
#[derive(Debug)]
pub struct Heir {
    channel: Channel,
    peer: Peer,
    version: String,
    serves: bool,
}

impl Heir {
    /// Its process; 0 where it cannot be seen.
    pub fn pid(&self) -> u32 {
        self.peer.pid
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Waits until everything is there but the right to begin.
    pub fn ready(&self) -> Result<(), HandoverError> {
        self.expect(&Message::Ready)
    }

    /// Lets it begin, and waits until it has. However long: it may have begun.
    pub fn release(&mut self) -> Result<(), HandoverError> {
        let talk = |source| HandoverError::Talk { pid: self.peer.pid, source };
        self.channel.set_patience(None).map_err(talk)?;
        message::send(&self.channel, self.peer, &Message::Released, &[])?;
        self.expect(&Message::Serving)?;
        self.serves = true;
        Ok(())
    }

    /// Waits until it has ended, and everybody whom it told of us.
    pub fn ended(&self) {
        if self.channel.set_patience(None).is_ok() {
            while matches!(self.channel.receive(), Ok(Some(_))) {}
        }
    }

    fn expect(&self, wanted: &Message) -> Result<(), HandoverError> {
        let (message, _) = message::receive(&self.channel, self.peer)?;
        if std::mem::discriminant(&message) == std::mem::discriminant(wanted) {
            return Ok(());
        }
        Err(unknown(self.peer, &format!("{message:?}")))
    }
}

impl Drop for Heir {
    fn drop(&mut self) {
        if self.serves {
            return;
        }
        let withdrawn = Message::Withdrawn { reason: "it waited too long".to_owned() };
        if let Err(error) = message::send(&self.channel, self.peer, &withdrawn, &[]) {
            tracing::debug!(%error, "the successor does not hear that it is not one");
        }
    }
}

impl AsFd for Heir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
