//! Decides who is banned, and writes it down. Runs on a thread of its own, because a write is a
//! system call, which the data path makes none of.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use gateway_common::bans::{Ban, BanMode, BanReason};
use gateway_common::budget::{Event, EventKind};
use tracing::{error, info, warn};

use super::client_keeper::{ClientKeeper, Outcome};
use super::{Breaker, News, Status, Store, StoreError, Strikes, Struck, Suspects, Traffic, Turn};
use crate::clock;
use crate::model::ban::{BanModes, Source};
use crate::model::policy::Cidr;
use crate::settings::Bans;

/// How often windows, bans and shares are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Ticks between two readings of the whole store.
const TICKS_TO_READ: u32 = 10;
/// Ticks for which a complaint that was logged is not logged again.
const TICKS_TO_REPEAT: u32 = 60;

/// What the keeper asks of the machine.
pub struct Node {
    /// The node's own addresses now.
    pub addresses: Box<dyn Fn() -> io::Result<Vec<IpAddr>> + Send>,
    /// Packets to gateway ports; none without the kernel half.
    pub traffic: Option<Box<dyn Fn() -> Traffic + Send>>,
    /// What the programs tell of; none without the kernel half.
    pub told: Option<Box<dyn Told + Send>>,
}

/// What the programs tell of.
pub trait Told {
    /// The next event, if there is one.
    fn next(&mut self) -> Option<Event>;

    /// Events that found no room so far.
    fn lost(&self) -> u64;
}

/// Keeps the bans.
pub struct Keeper {
    settings: Bans,
    strikes: Strikes,
    suspects: Arc<Suspects>,
    breaker: Breaker,
    store: Box<dyn Store>,
    node: Node,
    status: Arc<Status>,
    turn: Turn,
    /// Whether the store is as it has to be since it is our turn; none: not tried yet.
    begun: Option<bool>,
    /// What the store holds, with the ends; read again now and then, because operators write too.
    bans: HashMap<Source, u64>,
    clients: ClientKeeper,
    ticks: u32,
    /// Tick from which on want of room may be logged again.
    silent_until: u32,
}

impl Keeper {
    /// Takes over the bans that are there, if it is our turn, else once it is.
    pub fn new(
        settings: Bans,
        suspects: Arc<Suspects>,
        status: Arc<Status>,
        store: Box<dyn Store>,
        node: Node,
        turn: Turn,
    ) -> Result<Self, StoreError> {
        let clients = ClientKeeper::new(&settings, Arc::clone(&status));
        let mut keeper = Self {
            strikes: Strikes::new(settings.threshold, settings.window, Arc::clone(&suspects)),
            suspects,
            breaker: Breaker::new(settings.max_share),
            settings,
            store,
            node,
            status,
            turn,
            begun: None,
            bans: HashMap::new(),
            clients,
            ticks: 0,
            silent_until: 0,
        };
        if *keeper.turn.clone().hold() {
            keeper.begin()?;
        }
        Ok(keeper)
    }

    /// It is our turn. Bans of sources that may not be banned (any more) end.
    fn begin(&mut self) -> Result<(), StoreError> {
        self.store.set_budget(self.settings.budget)?;
        self.set_mode(self.settings.mode)?;
        let own = (self.node.addresses)()?;
        for (source, _) in self.store.list()? {
            if exempt(source, &self.settings.trusted) || is_own(source, &own) {
                self.store.remove(source)?;
                info!(%source, "ban ended: the source is trusted, or the node's own");
            }
        }
        self.read(clock::since_boot())?;
        if self.settings.budget.is_some() {
            self.suspects.next_round();
        }
        self.begun = Some(true);
        Ok(())
    }

    /// Works until the last worker has ended. While it is another daemon's turn, news count for
    /// nothing.
    pub fn run(mut self, news: &Receiver<News>) {
        let turn = self.turn.clone();
        let mut next = clock::monotonic() + TICK;
        loop {
            let wait = next.saturating_duration_since(clock::monotonic());
            let heard = match news.recv_timeout(wait) {
                Ok(news) => Some(news),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            // Also under a flood of news.
            let tick = clock::monotonic() >= next;
            if tick {
                next = clock::monotonic() + TICK;
            }
            self.work(*turn.hold(), heard, tick, clock::since_boot());
        }
    }

    /// Hears news, and looks at what time has changed if a tick has passed.
    pub(super) fn work(&mut self, ours: bool, heard: Option<News>, tick: bool, now: u64) {
        if !ours {
            self.begun = None;
            return;
        }
        let try_now = self.begun.is_none() || tick && self.begun == Some(false);
        if try_now && let Err(error) = self.begin() {
            error!(%error, "cannot take over the bans; trying again");
            self.begun = Some(false);
        }
        if self.begun != Some(true) {
            return;
        }
        if let Some(news) = heard {
            self.hear(news, now);
        }
        if tick {
            self.tick(now);
        }
    }

    /// Takes news.
    pub fn hear(&mut self, news: News, now: u64) {
        match news {
            News::Good(source) => {
                if self.strikes.forgive(source) {
                    self.status.forgiven.add();
                }
                self.earn(source, now);
            }
            News::Bad(source, reason) if self.settings.mode != BanMode::Off => {
                self.status.struck(reason);
                match self.strikes.strike(source, now) {
                    Struck::Counted => {}
                    Struck::Out(strikes) => self.ban(source, reason, strikes, now),
                    Struck::NoRoom => self.no_room(source),
                }
            }
            News::ClientGood(source) => {
                if self.clients.forgive(source) {
                    self.status.forgiven.add();
                }
            }
            News::ClientBad(source, reason) if self.settings.mode != BanMode::Off => {
                self.status.struck(reason);
                match self.clients.strike(source, now) {
                    Outcome::Counted => {}
                    Outcome::Out(strikes) => self.ban_client(source, reason, strikes, now),
                    Outcome::NoRoom => self.no_room(source),
                }
            }
            News::Bad(..) | News::ClientBad(..) => {}
        }
    }

    /// Looks at what time has changed.
    pub fn tick(&mut self, now: u64) {
        self.ticks += 1;
        self.strikes.expire(now);
        if self.ticks.is_multiple_of(TICKS_TO_READ)
            && let Err(error) = self.read(now)
        {
            error!(%error, "cannot read the bans");
        }
        self.bans.retain(|_, expires| *expires > now);
        self.status.set_active(self.bans.len());
        self.clients.tick(&self.settings, now);
        if let Some(traffic) = &self.node.traffic {
            let share = self.breaker.read(traffic());
            self.suspend(share);
        }
        if self.settings.budget.is_some() && self.ticks.is_multiple_of(self.round()) {
            self.suspects.next_round();
        }
        if let Some(told) = &mut self.node.told {
            log(&mut **told);
            self.status.events_lost.set(told.lost());
        }
    }

    /// Ticks of a round: earned trust is prolonged several times before it ends.
    fn round(&self) -> u32 {
        u32::try_from(self.settings.earned_duration.as_secs() / 4).unwrap_or(u32::MAX).max(1)
    }

    fn earn(&mut self, source: Source, now: u64) {
        if self.settings.budget.is_none() {
            return;
        }
        let duration = nanoseconds(self.settings.earned_duration);
        match self.store.earn(source, now.saturating_add(duration)) {
            Ok(()) => self.status.earned.add(),
            Err(error) => error!(%source, %error, "cannot note that a source has earned trust"),
        }
    }

    fn ban(&mut self, source: Source, reason: BanReason, strikes: u32, now: u64) {
        if self.bans.get(&source).is_some_and(|expires| *expires > now) {
            return; // in audit mode, or made by hand
        }
        if !self.may_ban(source) {
            return;
        }
        if self.bans.len() >= self.settings.max_entries as usize {
            self.bans.retain(|_, expires| *expires > now);
            if self.bans.len() >= self.settings.max_entries as usize {
                return self.no_room(source);
            }
        }
        let expires = now.saturating_add(nanoseconds(self.settings.duration));
        let ban = Ban { expires, since: now, packets: 0, strikes, reason: reason as u32 };
        if let Err(error) = self.store.insert(source, ban) {
            self.status.full.add();
            error!(%source, %error, "cannot ban a source");
            return;
        }
        self.bans.insert(source, expires);
        self.status.banned(reason);
        self.status.set_active(self.bans.len());
        let (mode, dropped) = (self.settings.mode.word(), self.drops());
        let (reason, seconds) = (reason.word(), self.settings.duration.as_secs_f64());
        warn!(%source, strikes, reason, seconds, mode, dropped, "source banned");
    }

    fn ban_client(&mut self, source: Source, reason: BanReason, strikes: u32, now: u64) {
        let expires = now.saturating_add(nanoseconds(self.settings.duration));
        if self.may_ban(source)
            && !self.clients.ban((source, reason, strikes), &self.settings, (now, expires))
        {
            self.no_room(source);
        }
    }

    /// Whether a source has none of the node's addresses.
    fn may_ban(&self, source: Source) -> bool {
        match (self.node.addresses)() {
            Ok(own) if is_own(source, &own) => {
                self.status.own.add();
                false
            }
            Ok(_) => true,
            Err(error) => {
                error!(%source, %error, "not banned: cannot read the node's addresses");
                false
            }
        }
    }

    /// Whether packets of banned sources are dropped.
    fn drops(&self) -> bool {
        self.settings.mode == BanMode::Enforce
            && self.node.traffic.is_some()
            && !self.status.is_suspended()
    }

    fn no_room(&mut self, source: Source) {
        self.status.full.add();
        if self.ticks >= self.silent_until {
            self.silent_until = self.ticks + TICKS_TO_REPEAT;
            warn!(
                %source,
                bans = self.bans.len(),
                suspects = self.strikes.len(),
                "no room to ban a source; see --ban-max-entries and `gateway-daemon bans`"
            );
        }
    }

    /// Reads the store, and removes what is over.
    fn read(&mut self, now: u64) -> Result<(), StoreError> {
        self.bans.clear();
        for (source, ban) in self.store.list()? {
            if ban.expires > now {
                self.bans.insert(source, ban.expires);
            } else {
                self.store.remove(source)?;
            }
        }
        self.status.set_active(self.bans.len());
        Ok(())
    }

    /// Suspends enforcing while bans meet too large a share, and resumes.
    fn suspend(&mut self, share: Option<u64>) {
        if self.settings.mode != BanMode::Enforce || share.is_some() == self.status.is_suspended() {
            return;
        }
        let mode = if share.is_some() { BanMode::Audit } else { BanMode::Enforce };
        if let Err(error) = self.set_mode(mode) {
            error!(%error, "cannot change what is done about banned sources");
            return;
        }
        self.status.set_suspended(share.is_some());
        if let Some(percent) = share {
            warn!(
                percent,
                most = self.settings.max_share,
                "bans suspended: banned sources send more than --ban-max-share of the packets; \
                 see `gateway-daemon bans list`"
            );
        } else {
            warn!("bans enforced again");
        }
    }

    fn set_mode(&mut self, now: BanMode) -> Result<(), StoreError> {
        self.store.set_modes(BanModes { now, wanted: self.settings.mode })
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Logs what the programs told of: a few in full, the rest as a number, so that no stranger can
/// fill the log.
fn log(told: &mut dyn Told) {
    const IN_FULL: u32 = 10;
    const AT_ONCE: u32 = 4_096;
    let mut number = 0;
    while number < AT_ONCE
        && let Some(event) = told.next()
    {
        number += 1;
        if number <= IN_FULL {
            let source = Source::of(IpAddr::from(event.source));
            match EventKind::of(event.kind) {
                Some(EventKind::BanHit) => info!(%source, "a ban met its first packet"),
                Some(EventKind::SynLimited) => {
                    warn!(%source, "more new connections than --syn-rate: dropping SYNs");
                }
                None => warn!(kind = event.kind, "event of another version's program"),
            }
        }
    }
    if number > IN_FULL {
        info!(events = number - IN_FULL, "more events");
    }
}

/// Whether a source may never be banned whatever the node's addresses are: loopback, and what is
/// trusted.
pub fn exempt(source: Source, trusted: &[Cidr]) -> bool {
    source.first().is_loopback()
        // Of `::/64`, which has `::1`.
        || source == Source::of(IpAddr::from([0; 16]))
        || trusted.iter().any(|block| source.overlaps(*block))
}

/// Whether a source has one of the node's addresses.
fn is_own(source: Source, own: &[IpAddr]) -> bool {
    own.iter().any(|address| source.contains(*address))
}
