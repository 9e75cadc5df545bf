//! Bans, wired: the keeper's thread, the kernel half's maps behind it, the workers' ends.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail};
use gateway_common::bans::{Ban, BanMode};
use gateway_common::budget::Event;
use tracing::{error, info, warn};

use crate::bans::{
    Keeper, MemoryStore, Node, Status, Store, StoreError, Suspects, Told, Traffic, Turn, Watch,
    watch,
};
use crate::bpf::{BanMaps, Events};
use crate::counters::Regions;
use crate::model::ban::{BanModes, Source, SynBudget};
use crate::model::policy::Cidr;
use crate::settings::{Datapath, Settings};
use crate::sys::addresses;

/// The kernel half's ring buffer.
impl Told for Events {
    fn next(&mut self) -> Option<Event> {
        self.next_event()
    }

    fn lost(&self) -> u64 {
        Self::lost(self)
    }
}

/// The kernel half's maps.
impl Store for BanMaps {
    fn set_modes(&mut self, modes: BanModes) -> Result<(), StoreError> {
        Ok(Self::set_modes(self, modes)?)
    }

    fn set_budget(&mut self, budget: Option<SynBudget>) -> Result<(), StoreError> {
        Ok(Self::set_budget(self, budget)?)
    }

    fn insert(&mut self, source: Source, ban: Ban) -> Result<(), StoreError> {
        Ok(Self::insert(self, source, ban)?)
    }

    fn remove(&mut self, source: Source) -> Result<bool, StoreError> {
        Ok(Self::remove(self, source)?)
    }

    fn earn(&mut self, source: Source, expires: u64) -> Result<(), StoreError> {
        Ok(Self::earn(self, source, expires)?)
    }

    fn list(&self) -> Result<Vec<(Source, Ban)>, StoreError> {
        Ok(Self::list(self)?)
    }
}

/// Sources without a budget of connections: what is trusted, and loopback.
pub(super) fn trusted(settings: &Settings) -> Vec<Cidr> {
    let loopback = ["127.0.0.0/8", "::1"].into_iter().filter_map(|block| Cidr::parse(block).ok());
    settings.bans.trusted.iter().copied().chain(loopback).collect()
}

/// Where bans are written, and what the programs tell.
pub(super) struct Ground {
    store: Box<dyn Store>,
    events: Option<Events>,
}

/// Opens the maps, which takes privilege.
pub(super) fn prepare(settings: &Settings) -> Result<Ground> {
    match settings.datapath {
        Datapath::Ebpf => {
            let maps = BanMaps::open(&settings.pin_directory)?;
            let events = Events::open(&settings.pin_directory)?;
            Ok(Ground { store: Box::new(maps), events: Some(events) })
        }
        Datapath::Off => {
            if settings.bans.budget.is_some() {
                bail!(
                    "--syn-rate drops packets in the kernel half and cannot work with \
                     `--datapath off`; drop one of the two"
                );
            }
            Ok(Ground { store: Box::<MemoryStore>::default(), events: None })
        }
    }
}

/// Bans that are kept, or not.
pub(super) struct Bans {
    kept: Option<Kept>,
    turn: Turns,
}

struct Kept {
    watch: Watch,
    status: Arc<Status>,
    thread: JoinHandle<()>,
}

/// Whose turn it is to say what is done about bans: ours, or a daemon's that takes over or is taken
/// over from.
#[derive(Clone)]
pub(super) struct Turns {
    turn: Turn,
    /// Where nobody keeps bans here: where to say so.
    off: Option<Arc<Mutex<Box<dyn Store>>>>,
}

const FAILED: &str = "cannot read or write the bans";

/// Starts the keeper; none with `--bans off` and without budgets. Where it is not our turn yet,
/// nothing is changed.
pub(super) fn start(
    settings: &Settings,
    ground: Ground,
    regions: &Regions,
    ours: bool,
) -> Result<Bans> {
    let mode = settings.bans.mode;
    let Ground { store, events } = ground;
    let turn = Turn::new(ours);
    if mode == BanMode::Off && settings.bans.budget.is_none() {
        let turn = Turns { turn, off: Some(Arc::new(Mutex::new(store))) };
        if ours {
            turn.say_off()?;
        }
        return Ok(Bans { kept: None, turn });
    }
    if settings.datapath == Datapath::Off {
        warn!(
            mode = mode.word(),
            "without the kernel half bans drop nothing: strikes count, and bans are logged"
        );
    }
    let (suspects, status) = (Arc::<Suspects>::default(), Arc::new(Status::new(mode)));
    let (watch, news) = watch(Arc::clone(&suspects), Arc::clone(&status), &settings.bans.trusted);
    let keeper = Keeper::new(
        settings.bans.clone(),
        suspects,
        Arc::clone(&status),
        store,
        node(regions, events),
        turn.clone(),
    )
    .map_err(anyhow::Error::from_boxed)
    .context(FAILED)?;
    info!(mode = mode.word(), active = status.active(), "keeping bans");
    let thread = thread::Builder::new().name("bans".to_owned()).spawn(move || keeper.run(&news))?;
    let kept = Some(Kept { watch, status, thread });
    Ok(Bans { kept, turn: Turns { turn, off: None } })
}

impl Turns {
    /// Ours from here on.
    pub(super) fn take(&self) {
        self.turn.take();
        if let Err(error) = self.say_off() {
            error!(error = format!("{error:#}"), "bans of another daemon stay in force");
        }
    }

    /// Another daemon's from here on.
    pub(super) fn give(&self) {
        self.turn.give();
    }

    fn say_off(&self) -> Result<()> {
        let Some(store) = &self.off else { return Ok(()) };
        let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
        let off = BanModes { now: BanMode::Off, wanted: BanMode::Off };
        let said = store.set_modes(off).and_then(|()| store.set_budget(None));
        said.map_err(anyhow::Error::from_boxed).context(FAILED)
    }
}

/// What the keeper asks of the machine; without events there is no kernel half.
fn node(regions: &Regions, events: Option<Events>) -> Node {
    let regions = regions.clone();
    Node {
        addresses: Box::new(addresses::own),
        traffic: events
            .is_some()
            .then(|| -> Box<dyn Fn() -> Traffic + Send> { Box::new(move || traffic(&regions)) }),
        told: events.map(|events| -> Box<dyn Told + Send> { Box::new(events) }),
    }
}

fn traffic(regions: &Regions) -> Traffic {
    let sum = regions.arrived_for_listeners();
    let banned = sum.banned_source.packets + sum.ban_audit.packets;
    Traffic { seen: sum.seen.packets, banned }
}

impl Bans {
    /// A worker's end; none where bans are not kept.
    pub(super) fn watch(&self) -> Option<Watch> {
        self.kept.as_ref().map(|kept| kept.watch.clone())
    }

    /// What observers are shown.
    pub(super) fn status(&self) -> Option<Arc<Status>> {
        self.kept.as_ref().map(|kept| Arc::clone(&kept.status))
    }

    /// Whose turn it is.
    pub(super) fn turns(&self) -> Turns {
        self.turn.clone()
    }

    /// Ends once every worker has.
    pub(super) fn end(self) -> io::Result<()> {
        let Some(Kept { watch, thread, .. }) = self.kept else { return Ok(()) };
        drop(watch);
        thread.join().map_err(|_| io::Error::other("the bans thread panicked"))
    }
}
