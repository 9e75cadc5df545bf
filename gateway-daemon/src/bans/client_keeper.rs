//! Decides which clients behind trusted proxies are banned: by the same measures as sources of
//! packets, but in a table of this process.

use std::collections::HashMap;
use std::sync::Arc;

use gateway_common::bans::{Ban, BanMode, BanReason};
use tracing::warn;

use super::{Breaker, Clients, Status, Strikes, Struck};
use crate::model::ban::Source;
use crate::settings::Bans;

/// Keeps the bans of clients; a part of the keeper.
pub(super) struct ClientKeeper {
    strikes: Strikes,
    breaker: Breaker,
    /// Who is banned, with the end.
    bans: HashMap<Source, u64>,
    status: Arc<Status>,
}

/// What became of a strike.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// It counts, or changes nothing.
    Counted,
    /// The source is to be banned, if it may be: so many strikes.
    Out(u32),
    /// There is no room for it.
    NoRoom,
}

impl ClientKeeper {
    pub(super) fn new(settings: &Bans, status: Arc<Status>) -> Self {
        let suspects = Arc::clone(&status.clients.suspects);
        status.clients.set_enforced(settings.mode == BanMode::Enforce, false);
        Self {
            strikes: Strikes::new(settings.threshold, settings.window, suspects),
            breaker: Breaker::new(settings.max_share),
            bans: HashMap::new(),
            status,
        }
    }

    fn table(&self) -> &Clients {
        &self.status.clients
    }

    /// A good token; answers whether there was anything to forgive.
    pub(super) fn forgive(&mut self, source: Source) -> bool {
        self.strikes.forgive(source)
    }

    /// A bad token.
    pub(super) fn strike(&mut self, source: Source, now: u64) -> Outcome {
        match self.strikes.strike(source, now) {
            Struck::Out(_) if self.bans.get(&source).is_some_and(|end| *end > now) => {
                Outcome::Counted // in audit mode
            }
            Struck::Counted => Outcome::Counted,
            Struck::Out(strikes) => Outcome::Out(strikes),
            Struck::NoRoom => Outcome::NoRoom,
        }
    }

    /// Bans a client; answers whether there is room.
    pub(super) fn ban(
        &mut self,
        (source, reason, strikes): (Source, BanReason, u32),
        settings: &Bans,
        (now, expires): (u64, u64),
    ) -> bool {
        let most = settings.max_entries;
        if self.bans.len() >= most as usize {
            self.bans.retain(|_, end| *end > now);
        }
        let ban = Ban { expires, since: now, packets: 0, strikes, reason: reason as u32 };
        if self.bans.len() >= most as usize || !self.table().insert(source, ban, most) {
            return false;
        }
        self.bans.insert(source, expires);
        self.table().set_active(self.bans.len());
        let refused = settings.mode == BanMode::Enforce && !self.table().is_suspended();
        let (mode, reason) = (settings.mode.word(), reason.word());
        let seconds = settings.duration.as_secs_f64();
        warn!(%source, strikes, reason, seconds, mode, refused, "client behind a proxy banned");
        true
    }

    /// Looks at what time has changed.
    pub(super) fn tick(&mut self, settings: &Bans, now: u64) {
        self.strikes.expire(now);
        self.bans.retain(|_, end| *end > now);
        self.table().set_active(self.bans.len());
        let share = self.breaker.read(self.table().traffic());
        let suspended = share.is_some();
        if settings.mode != BanMode::Enforce || suspended == self.table().is_suspended() {
            return;
        }
        self.table().set_enforced(true, suspended);
        if let Some(percent) = share {
            warn!(
                percent,
                most = settings.max_share,
                "bans of clients suspended: those banned send more than --ban-max-share of the \
                 requests that come through proxies; see /bans of the admin address"
            );
        } else {
            warn!("bans of clients enforced again");
        }
    }
}
