//! A worker's end: tells the keeper, and never waits.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use gateway_common::bans::BanReason;

use super::keeper::exempt;
use super::{Status, Suspects};
use crate::model::ban::Source;
use crate::model::policy::Cidr;

/// News that may wait for the keeper; beyond, they are lost and counted.
const QUEUE: usize = 4_096;

/// Places for sources that were told of. Who shares one with another is told of more often.
const PLACES: usize = 1_024;

/// Who was told of last, and in which round.
type Told = (Option<Source>, u32);

/// A place for a source. Who can choose his addresses can share another's, at no gain.
fn place(source: Source) -> usize {
    let bits = match source {
        Source::V4(address) => u64::from(address.to_bits()),
        Source::V6(prefix) => u64::from_be_bytes(prefix),
    };
    // Fibonacci hashing; the upper bits are the mixed ones.
    usize::try_from(bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40).unwrap_or_default()
}

/// What a worker tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum News {
    /// A source presented a bad token.
    Bad(Source, BanReason),
    /// A source that may have strikes, or has earned trust, presented a good one.
    Good(Source),
    /// A client behind a trusted proxy presented a bad token.
    ClientBad(Source, BanReason),
    /// A client behind a trusted proxy that may have strikes presented a good one.
    ClientGood(Source),
}

/// A worker's end.
#[derive(Clone, Debug)]
pub struct Watch {
    news: SyncSender<News>,
    suspects: Arc<Suspects>,
    status: Arc<Status>,
    trusted: Arc<[Cidr]>,
    /// Who was told of in which round: the last of those that share a place.
    told: RefCell<Box<[Told]>>,
}

/// A worker's end, to be cloned for each, and the keeper's.
pub fn watch(
    suspects: Arc<Suspects>,
    status: Arc<Status>,
    trusted: &[Cidr],
) -> (Watch, Receiver<News>) {
    let (news, received) = sync_channel(QUEUE);
    (
        Watch {
            news,
            suspects,
            status,
            trusted: trusted.into(),
            told: RefCell::new(vec![(None, 0); PLACES].into()),
        },
        received,
    )
}

impl Watch {
    /// A peer presented a forged or malformed token, after a complete handshake.
    pub fn bad(&self, peer: IpAddr, reason: BanReason) {
        let source = Source::of(peer);
        if !exempt(source, &self.trusted) {
            self.tell(News::Bad(source, reason));
        }
    }

    /// A peer presented a good token. While nobody has strikes, and budgets are off, this is two
    /// loads.
    pub fn good(&self, peer: IpAddr) {
        if self.suspects.may_hold(|| Source::of(peer)) || self.is_due(peer) {
            self.tell(News::Good(Source::of(peer)));
        }
    }

    /// A client presented a bad token, says a trusted proxy.
    pub fn client_bad(&self, client: IpAddr, reason: BanReason) {
        let source = Source::of(client);
        if !exempt(source, &self.trusted) {
            self.tell(News::ClientBad(source, reason));
        }
    }

    /// A client presented a good token, says a trusted proxy. It earns nothing: its packets are the
    /// proxy's.
    pub fn client_good(&self, client: IpAddr) {
        if self.status.clients.suspects.may_hold(|| Source::of(client)) {
            self.tell(News::ClientGood(Source::of(client)));
        }
    }

    /// Whether a request is to be refused because its client is banned, says a trusted proxy.
    pub fn refuses_client(&self, client: IpAddr) -> bool {
        self.status.clients.refuses(|| Source::of(client))
    }

    /// Whether the peer has earned trust that was not told of in this round.
    fn is_due(&self, peer: IpAddr) -> bool {
        let round = self.suspects.round();
        if round == 0 {
            return false;
        }
        let source = Source::of(peer);
        let mut told = self.told.borrow_mut();
        let place = place(source) % told.len();
        let due = told[place] != (Some(source), round);
        told[place] = (Some(source), round);
        due
    }

    fn tell(&self, news: News) {
        if self.news.try_send(news).is_err() {
            self.status.lost.add();
        }
    }
}
