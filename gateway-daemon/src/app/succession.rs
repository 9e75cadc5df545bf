//! Taking over from a daemon that runs, and handing over to one that is started beside this one.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, Result, bail};
use tracing::{error, info, warn};

use super::bans::Turns;
use super::ports::OpenPorts;
use super::sockets::WorkerLink;
use crate::bpf::{BpfError, Detached, LoadOptions};
use crate::control::Trigger;
use crate::counters::{MAX_WRITERS, Memory, Regions};
use crate::handover::{
    Door, Elder, Estate, HandoverError, Heir, Item, Place, Predecessor, Visitor,
};
use crate::proxy::WorkerCommand;
use crate::settings::Settings;

/// Looks at a daemon that does not answer, though it holds its place: it may be ending.
const ATTEMPTS: u32 = 20;
/// Pause between two of them.
const PAUSE: Duration = Duration::from_millis(100);

/// Whom this daemon found when it was started.
pub(super) struct Arrival {
    place: Place,
    predecessor: Option<Predecessor>,
    /// Open from the start where nothing else says that the place is taken.
    door: Option<Door>,
}

impl Arrival {
    /// With the kernel half: whoever holds the lock of the pin directory.
    pub(super) fn with_pins(
        settings: &Settings,
        options: &LoadOptions,
    ) -> Result<(Self, Detached)> {
        let directory = &options.pin_directory;
        for attempt in 1.. {
            let busy = match Detached::prepare(options.clone()) {
                Ok(detached) => {
                    let place = Place::with_pins(directory)?;
                    return Ok((Self { place, predecessor: None, door: None }, detached));
                }
                Err(busy @ BpfError::Busy { .. }) if settings.takeover => busy,
                Err(error) => return Err(error.into()),
            };
            let place = Place::with_pins(directory)?;
            if let Some(mut predecessor) = Predecessor::find(&place)? {
                let lock = predecessor.take(|item| item == Item::Lock).pop();
                let (_, lock) = lock.context("the running daemon hands over no lock")?;
                let detached = if predecessor.is_draining() {
                    Detached::after(options.clone(), fs::File::from(lock))
                } else {
                    Detached::beside(options.clone(), fs::File::from(lock))
                }?;
                let arrival = Self { place, predecessor: Some(predecessor), door: None };
                arrival.tell();
                return Ok((arrival, detached));
            }
            if attempt == ATTEMPTS {
                return Err(busy).context(
                    "it cannot be taken over: it is ending, or of a version that does not know how",
                );
            }
            thread::sleep(PAUSE);
        }
        bail!("nobody has the pin directory, and nobody lets go of it")
    }

    /// Without the kernel half: whoever has the door.
    pub(super) fn without_pins(settings: &Settings) -> Result<Self> {
        let directory = settings.pin_directory.display();
        let place = Place::without_pins(&settings.pin_directory);
        for _ in 0..ATTEMPTS {
            if settings.takeover
                && let Some(predecessor) = Predecessor::find(&place)?
            {
                let arrival = Self { place, predecessor: Some(predecessor), door: None };
                arrival.tell();
                return Ok(arrival);
            }
            if let Some(door) = Door::open(&place).context("cannot open the door to successors")? {
                return Ok(Self { place, predecessor: None, door: Some(door) });
            }
            if !settings.takeover {
                bail!(
                    "another gateway-daemon without the kernel half goes by --pin-directory \
                     {directory}: stop it first, or give another --pin-directory"
                );
            }
            thread::sleep(PAUSE);
        }
        bail!("the gateway-daemon that goes by --pin-directory {directory} does not hand over")
    }

    fn tell(&self) {
        if let Some(old) = &self.predecessor {
            let (pid, version, draining) = (old.pid(), old.version(), old.is_draining());
            info!(pid, version, draining, "taking over from a running daemon");
        }
    }

    /// Whether another daemon counts in the same rows.
    pub(super) fn is_shared(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Whether another daemon serves.
    pub(super) fn is_beside(&self) -> bool {
        self.predecessor.as_ref().is_some_and(|old| !old.is_draining())
    }

    /// The predecessor's secret of the flow hash, if it has as many workers.
    pub(super) fn seed(&self, workers: u32) -> Option<u64> {
        let old = self.predecessor.as_ref()?;
        (self.is_beside() && old.workers() == workers).then(|| old.seed())
    }

    /// The predecessor's admin listener, if it is at this address.
    pub(super) fn admin(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let taken = self.take(|item| item == Item::Admin);
        let mut listeners = taken.into_iter().map(|(_, file)| TcpListener::from(file));
        listeners.find(|listener| listener.local_addr().is_ok_and(|at| at == address))
    }

    /// The predecessor's listening sockets.
    pub(super) fn sockets(&mut self) -> Vec<(Item, OwnedFd)> {
        self.take(|item| matches!(item, Item::Worker { .. } | Item::Listener))
    }

    /// The predecessor's counters, where they are not pinned.
    pub(super) fn memory(&mut self) -> Option<Memory> {
        let files = self.take(|item| item == Item::Counters);
        Memory::from_files(files.into_iter().map(|(_, file)| file).collect())
    }

    fn take(&mut self, wanted: impl Fn(Item) -> bool) -> Vec<(Item, OwnedFd)> {
        self.predecessor.as_mut().map(|old| old.take(wanted)).unwrap_or_default()
    }

    /// Waits until the predecessor accepts no more.
    pub(super) fn await_release(&self) -> Result<(), HandoverError> {
        match &self.predecessor {
            Some(old) if !old.is_draining() => old.await_release(),
            _ => Ok(()),
        }
    }

    /// This daemon serves: those before it drain, and end.
    pub(super) fn serve(self) -> (Place, Option<Door>, Vec<Elder>) {
        let elders = self.predecessor.map(Predecessor::relieve).unwrap_or_default();
        (self.place, self.door, elders)
    }
}

/// Daemons that were relieved and drain.
#[derive(Default)]
struct Elders(Mutex<Drainers>);

#[derive(Default)]
struct Drainers {
    elders: Vec<Arc<Elder>>,
    /// This one is among them.
    relieved: bool,
}

impl Elders {
    fn lock(&self) -> MutexGuard<'_, Drainers> {
        // Nothing under this lock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all have ended, and settles what they left.
    fn settle(&self, regions: &Regions, workers: &[WorkerLink]) {
        let elders = self.lock().elders.clone();
        for elder in elders {
            elder.ended();
        }
        let mut drainers = self.lock();
        drainers.elders.clear();
        if drainers.relieved {
            return; // the successor knows them all
        }
        regions.set_shared(false);
        regions.settle_beyond(u32::try_from(workers.len()).unwrap_or(u32::MAX));
        for worker in workers {
            if worker.send(WorkerCommand::Settle).is_err() {
                error!("a worker has ended");
            }
        }
        info!("the daemons before this one have ended");
    }
}

/// What this daemon has for a successor, beside its ports.
pub(super) struct Succession {
    place: Place,
    door: Option<(Door, JoinHandle<()>)>,
    visitors: (Sender<Visitor>, Receiver<Visitor>),
    triggers: Sender<Trigger>,
    elders: Arc<Elders>,
    own: Own,
}

/// What is handed over.
pub(super) struct Own {
    pub(super) workers: u32,
    pub(super) admin: Option<TcpListener>,
    /// The counters, where they are not pinned.
    pub(super) memory: Option<Memory>,
    pub(super) bans: Turns,
}

/// Who was at the door.
pub(super) enum Knock {
    /// Nobody.
    Nobody,
    /// Somebody who did not take over.
    Failed,
    /// The successor, which serves.
    Relieved(Heir),
}

impl Succession {
    /// From here on another daemon can take over. `triggers` wakes the control thread, which then
    /// asks [`Self::knock`].
    pub(super) fn begin(
        arrival: Arrival,
        own: Own,
        triggers: Sender<Trigger>,
        regions: Regions,
        workers: Vec<WorkerLink>,
    ) -> Result<Self> {
        let (place, door, elders) = arrival.serve();
        let drainers =
            Drainers { elders: elders.into_iter().map(Arc::new).collect(), relieved: false };
        let elders = Arc::new(Elders(Mutex::new(drainers)));
        let waiting = Arc::clone(&elders);
        let any = !elders.lock().elders.is_empty();
        if any {
            thread::Builder::new()
                .name("elders".to_owned())
                .spawn(move || waiting.settle(&regions, &workers))?;
        }
        let mut succession = Self { place, door: None, visitors: channel(), triggers, elders, own };
        match door {
            Some(door) => succession.attend(door)?,
            None => succession.open(),
        }
        Ok(succession)
    }

    fn open(&mut self) {
        let opened = Door::open(&self.place).and_then(|door| match door {
            Some(door) => self.attend(door),
            None => Err(io::Error::other("another process has its name")),
        });
        if let Err(error) = opened {
            warn!(%error, "cannot open the door to successors: this daemon cannot be taken over");
        }
    }

    fn attend(&mut self, door: Door) -> io::Result<()> {
        let (visitors, triggers, open) =
            (self.visitors.0.clone(), self.triggers.clone(), door.clone());
        let thread = thread::Builder::new().name("door".to_owned()).spawn(move || {
            while let Ok(visitor) = open.visitor() {
                if visitors.send(visitor).is_err() || triggers.send(Trigger::Stop).is_err() {
                    return;
                }
            }
        })?;
        self.door = Some((door, thread));
        Ok(())
    }

    /// From here on no other daemon can take over.
    pub(super) fn close(&mut self) {
        let Some((door, thread)) = self.door.take() else { return };
        door.close();
        if thread.join().is_err() {
            error!("the door's thread panicked");
        }
    }

    /// Hands over to whoever is at the door. Configuration is not read meanwhile, so that names and
    /// rows of counters have one writer.
    pub(super) fn knock(&mut self, ports: &mut OpenPorts) -> Knock {
        let Ok(visitor) = self.visitors.1.try_recv() else { return Knock::Nobody };
        match self.hand_over(visitor, ports) {
            Ok(heir) => {
                info!(pid = heir.pid(), version = heir.version(), "relieved by a successor");
                Knock::Relieved(heir)
            }
            Err(error) => {
                warn!(%error, "not relieved: a successor did not begin to serve; serving on");
                Knock::Failed
            }
        }
    }

    fn hand_over(
        &mut self,
        visitor: Visitor,
        ports: &mut OpenPorts,
    ) -> Result<Heir, HandoverError> {
        let heir = {
            let drainers = self.elders.lock();
            if drainers.elders.len() + 2 > MAX_WRITERS as usize {
                let reason = "too many daemons that were relieved still drain: try again later";
                visitor.refuse(reason)?;
                return Err(HandoverError::Refused {
                    pid: std::process::id(),
                    reason: reason.into(),
                });
            }
            let mut estate = Estate::serving(self.own.workers, ports.seed());
            ports.offer(&mut estate);
            if let Some(admin) = &self.own.admin {
                estate.add(Item::Admin, admin.as_fd());
            }
            self.own.add_counters(&mut estate);
            for elder in &drainers.elders {
                estate.add(Item::Elder, elder.as_fd());
            }
            visitor.offer(&estate)?
        };
        info!(pid = heir.pid(), version = heir.version(), "handing over to a successor");
        self.release(heir, ports).inspect_err(|_| {
            if let Err(error) = ports.restore() {
                error!(error = format!("{error:#}"), "a successor that failed left its traces");
            }
        })
    }

    /// Lets the successor begin once it is ready; takes everything up again if it ends first.
    fn release(&mut self, mut heir: Heir, ports: &mut OpenPorts) -> Result<Heir, HandoverError> {
        heir.ready()?;
        self.close();
        ports.pause();
        self.own.bans.give();
        if let Err(error) = heir.release() {
            self.own.bans.take();
            self.open();
            return Err(error);
        }
        self.elders.lock().relieved = true;
        Ok(heir)
    }

    /// Waits on a thread of its own for the end of the successor. If this daemon still drains then,
    /// whoever starts next has to know: both count in the same rows.
    pub(super) fn retire(self, heir: Heir, ports: &OpenPorts) -> Result<()> {
        let Self { place, elders, own, .. } = self;
        let lock = ports.lock().context("cannot keep the lock of the pin directory")?;
        thread::Builder::new().name("heir".to_owned()).spawn(move || {
            if let Err(error) = wait_for_heirs(heir, &place, lock.as_ref(), &own, &elders) {
                warn!(%error, "the next daemon cannot be told that this one drains");
            }
        })?;
        Ok(())
    }
}

impl Own {
    fn add_counters<'o>(&'o self, estate: &mut Estate<'o>) {
        for file in self.memory.iter().flat_map(Memory::files) {
            estate.add(Item::Counters, file);
        }
    }
}

/// Ends with the process, or with an error.
fn wait_for_heirs(
    mut heir: Heir,
    place: &Place,
    lock: Option<&OwnedFd>,
    own: &Own,
    elders: &Elders,
) -> Result<()> {
    loop {
        heir.ended();
        warn!("the successor has ended while this daemon drains; the next one can start beside it");
        let door = Door::open(place)?.context("another process has the name")?;
        let visitor = door.visitor()?;
        let drainers = elders.lock();
        let mut estate = Estate::draining();
        if let Some(lock) = lock {
            estate.add(Item::Lock, lock.as_fd());
        }
        own.add_counters(&mut estate);
        for elder in &drainers.elders {
            estate.add(Item::Elder, elder.as_fd());
        }
        heir = visitor.offer(&estate)?;
    }
}
