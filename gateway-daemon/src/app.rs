//! The composition root: builds everything, starts and stops it in order.
//!
//! Start: read the configuration, load and attach the kernel half, open sockets, give up
//! privileges, publish, start threads, steer, ready. Stop: not ready, take no more, drain, detach.
//! Where a daemon runs already, its sockets are taken over after the threads have started; where
//! one is started beside this one, ours are handed over, and the kernel half stays attached.

mod bans;
mod bans_command;
mod commands;
mod ports;
mod routes;
mod sockets;
mod succession;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use gateway_common::abi::map;
use sd_notify::NotifyState;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use self::ports::OpenPorts;
use self::routes::Routes;
use self::sockets::WorkerLink;
use self::succession::{Arrival, Knock, Own, Succession};
use crate::admin::{self, Observed};
use crate::authn::CacheCounters;
use crate::bpf::{self, AttachOptions, BpfError, LoadOptions, Privileged};
use crate::control::{self, Prepared, Trigger};
use crate::counters::{FlowPaths, Gauge, Memory, PathSlots, Regions};
use crate::handover::Heir;
use crate::lifecycle::{self, Drained, Readiness, Request, Signals};
use crate::model::attachment::Attachment;
use crate::model::topology::{Proxies, ProxyFaults};
use crate::proxy::{self, LogWriter, WorkerCommand, WorkerParts};
use crate::settings::{Datapath, Settings};
use crate::snapshot::SnapshotWriter;

pub use self::commands::dispatch;

/// Serves until told to stop, or until a successor serves.
fn run(settings: &Settings) -> Result<()> {
    let readiness = Readiness::default();
    let starting = readiness.task("start");
    let prepared = read(settings)?;
    let addresses = prepared.listen_addresses();
    let Ground { mut arrival, regions, flow_paths, mut ports, memory } = match settings.datapath {
        Datapath::Ebpf => attach(settings)?,
        Datapath::Off => plain(settings)?,
    };
    let admin = settings.admin.map(|address| bind_admin(address, &mut arrival)).transpose()?;
    let ground = bans::prepare(settings)?;
    let (links, receivers) = worker_links(settings.workers);
    ports.link(links, arrival.sockets()).context("cannot open the workers' sockets")?;
    ports.prepare(&addresses)?;
    ports.relinquish(prepared.needs_read_privilege())?;

    let mut control = prepared.publish(slot_assigner(regions.clone()));
    let writer = control.writer();
    let log = LogWriter::start(&settings.access_log)
        .with_context(|| format!("--access-log: cannot open {:?}", settings.access_log))?;
    let (log, log_thread) = log.unzip();
    let bans = bans::start(settings, ground, &regions, !arrival.is_beside())?;
    let crew = start_workers(
        settings,
        &regions,
        flow_paths.as_ref(),
        &writer,
        log.as_ref(),
        &bans,
        receivers,
    )?;
    let observed = Arc::new(Observed {
        regions: regions.clone(),
        readiness: readiness.clone(),
        gauge: crew.gauge,
        token_caches: crew.token_caches,
        snapshots: writer.clone(),
        control: control.status(),
        shadow: control.shadow(),
        log_dropped: log.as_ref().map(LogWriter::dropped),
        bans: bans.status(),
        proxy_faults: crew.proxy_faults,
        interfaces: ports.interfaces(),
        datapath: settings.datapath.word(),
    });
    drop(log);
    let (triggers, received) = channel();
    control.fetch_keys(triggers.clone()).context("cannot start the thread that fetches keys")?;
    let beside = arrival.is_beside();
    if beside {
        control.await_keys(&received, KEYS);
        arrival.await_release()?;
    }
    ports.begin(&addresses, beside)?;
    let own = Own {
        workers: settings.workers,
        admin: admin.as_ref().map(std::net::TcpListener::try_clone).transpose()?,
        memory,
        bans: bans.turns(),
    };
    own.bans.take();
    let succession = Succession::begin(arrival, own, triggers.clone(), regions, ports.links())?;
    let (tell, relieved) = oneshot::channel();
    let control_thread = thread::Builder::new().name("control".to_owned()).spawn(move || {
        step_back();
        follow(control, ports, &received, succession, tell)
    })?;
    drop(starting);
    step_back();
    wait(admin, observed, &readiness, (&triggers, relieved), &writer, settings)?;

    let (ports, successor) = join(control_thread, "control")?;
    readiness.drain();
    let relieved = successor.is_some();
    drain(settings, ports, successor, &crew.drained, || {
        for worker in crew.workers {
            join(worker, "worker")?;
        }
        bans.end()?;
        log_thread.map_or(Ok(()), |thread| join(thread, "access log"))
    })?;
    if settings.unpin_on_exit && settings.datapath == Datapath::Ebpf && !relieved {
        bpf::unload(&settings.pin_directory).context("cannot remove the pins")?;
    }
    info!("stopped");
    Ok(())
}

fn read(settings: &Settings) -> Result<Prepared> {
    Ok(Prepared::read(control::Settings {
        paths: settings.config.clone(),
        ignore_kinds: settings.ignore_kinds.clone(),
        keys: control::KeySettings {
            allow_private: settings.keys.allow_private,
            authorities: settings.keys.authorities.clone(),
            state_directory: Some(settings.keys.state_directory.clone()),
        },
        proxies: Some(Proxies::new(&settings.trusted_proxies)),
    })?)
}

/// The workers, and what others see of them.
struct Crew {
    workers: Vec<JoinHandle<()>>,
    gauge: Gauge,
    token_caches: Vec<CacheCounters>,
    proxy_faults: Arc<ProxyFaults>,
    drained: Drained,
}

fn start_workers(
    settings: &Settings,
    regions: &Regions,
    flow_paths: Option<&FlowPaths>,
    writer: &SnapshotWriter,
    log: Option<&LogWriter>,
    bans: &bans::Bans,
    receivers: Vec<UnboundedReceiver<WorkerCommand>>,
) -> Result<Crew> {
    let gauge = Gauge::default();
    let (guard, drained) = lifecycle::drain();
    let mut token_caches = Vec::new();
    let proxy_faults = Arc::<ProxyFaults>::default();
    let mut workers = Vec::new();
    for (id, receiver) in (0..).zip(receivers) {
        let token_cache = CacheCounters::default();
        token_caches.push(token_cache.clone());
        let parts = WorkerParts {
            id,
            limits: Arc::new(settings.limits.clone()),
            snapshots: writer.reader(),
            counters: regions.worker(id).context("a worker has no counter rows")?,
            gauge: gauge.clone(),
            token_cache,
            access_log: log.cloned(),
            flow_paths: flow_paths.cloned(),
            watch: bans.watch(),
            proxy_faults: Arc::clone(&proxy_faults),
            drain: guard.clone(),
        };
        workers.push(start_worker(parts, receiver)?);
    }
    Ok(Crew { workers, gauge, token_caches, proxy_faults, drained })
}

/// Whoever took over, and what it has to be told of.
type Successor = (Succession, Heir);

/// Lets workers go first where they want the same CPU as the calling thread: a reload of thousands of
/// objects, or metrics of as many paths, need not have it at once.
fn step_back() {
    /// Against a worker's 1024 this weighs 335.
    const NICE: i32 = 5;
    let thread = Some(rustix::thread::gettid());
    if let Err(error) = rustix::process::setpriority_process(thread, NICE) {
        warn!(%error, "reloads and observers take as much CPU time as requests do");
    }
}

/// The control thread: follows the configuration, and hands over to whoever is at the door.
fn follow(
    mut control: control::Control,
    mut ports: OpenPorts,
    received: &Receiver<Trigger>,
    mut succession: Succession,
    tell: oneshot::Sender<()>,
) -> (OpenPorts, Option<Successor>) {
    loop {
        control.run(&mut ports, received);
        match succession.knock(&mut ports) {
            Knock::Nobody => {
                succession.close();
                return (ports, None);
            }
            Knock::Failed => {}
            Knock::Relieved(heir) => {
                // Where nobody listens, the daemon was told to stop meanwhile.
                let _told = tell.send(());
                return (ports, Some((succession, heir)));
            }
        }
    }
}

/// Takes no more, and finishes what is under way. `end` waits for the threads; the ports go last.
fn drain(
    settings: &Settings,
    mut ports: OpenPorts,
    successor: Option<Successor>,
    drained: &Drained,
    end: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let relieved = successor.is_some();
    if let Some((succession, heir)) = successor {
        // Another daemon serves with our ports, and has to know that we drain.
        lifecycle::relieved(heir.pid());
        succession.retire(heir, &ports)?;
        ports.leave();
        ports.tell(&WorkerCommand::leave);
    } else {
        lifecycle::notify(NotifyState::Stopping);
        ports.close_all();
        ports.tell(&WorkerCommand::drain);
    }
    info!(timeout = ?settings.drain_timeout, "draining");
    let mut over = drained.wait(settings.drain_timeout);
    if !over && relieved {
        // Idle connections that nothing came on meanwhile.
        ports.tell(&WorkerCommand::drain);
        over = drained.wait(LAST_WORDS);
    }
    if !over {
        warn!("requests still under way after the drain timeout are cut off");
        ports.tell(&WorkerCommand::abort);
    }
    end()
}

/// How long a daemon that takes over waits for keys that are fetched.
const KEYS: Duration = Duration::from_secs(10);
/// How long idle connections of a daemon that was relieved have to close.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What everything else stands on.
struct Ground {
    arrival: Arrival,
    regions: Regions,
    flow_paths: Option<FlowPaths>,
    ports: OpenPorts,
    /// The counters, where they are not pinned.
    memory: Option<Memory>,
}

/// Loads and attaches the kernel half.
fn attach(settings: &Settings) -> Result<Ground> {
    const WITHOUT: &str = "the kernel half cannot be attached";
    let privileged = Privileged::acquire().context(WITHOUT)?;
    let options = LoadOptions {
        workers: settings.workers,
        deny_sources: settings.deny_sources.clone(),
        trusted_sources: bans::trusted(settings),
        pin_directory: settings.pin_directory.clone(),
    };
    let (arrival, detached) = Arrival::with_pins(settings, &options).context(WITHOUT)?;
    let mut loaded = detached.begin(&privileged).context(WITHOUT)?;
    if let Some(seed) = arrival.seed(settings.workers) {
        loaded.maps().set_seed(seed);
    }
    let options = AttachOptions {
        xdp: settings.xdp,
        place: settings.xdp_place,
        order: settings.tc_order,
        ..AttachOptions::default()
    };
    let attached = loaded.attach_with(&privileged, &settings.interfaces, options);
    let mut attached = attached.context(WITHOUT)?;
    for Attachment { interface, xdp, tc, .. } in attached.attachments() {
        info!(interface, xdp = xdp.word(), tc = tc.word(), "kernel half attached");
    }
    let regions = Regions::open(|map| attached.maps().region(map)).context(WITHOUT)?;
    regions.set_shared(arrival.is_shared());
    let flow_paths = attached.maps().region(map::FLOW_PATHS).context(WITHOUT)?;
    let flow_paths = Some(FlowPaths::new(flow_paths).context(WITHOUT)?);
    let routes = Routes::new(settings, arrival.is_beside());
    let ports = OpenPorts::steered(privileged, attached, regions.clone(), routes);
    Ok(Ground { arrival, regions, flow_paths, ports, memory: None })
}

/// Serves without the kernel half.
fn plain(settings: &Settings) -> Result<Ground> {
    if !settings.deny_sources.is_empty() {
        bail!(
            "--deny-source drops packets in the kernel half and cannot work with `--datapath off`; \
             drop one of the two"
        );
    }
    warn!("serving without the kernel half: no steering, no packet counters, no pins");
    let mut arrival = Arrival::without_pins(settings)?;
    let memory = match arrival.memory() {
        Some(memory) => memory,
        None => Memory::new(settings.workers)?,
    };
    let regions = memory.regions()?;
    if regions.workers() < settings.workers {
        return Err(BpfError::Rows { workers: settings.workers, rows: regions.workers() }.into());
    }
    regions.set_shared(arrival.is_shared());
    let ports = OpenPorts::bound(Routes::new(settings, arrival.is_beside()));
    Ok(Ground { arrival, regions, flow_paths: None, ports, memory: Some(memory) })
}

/// Listens there, or goes on with the listener of a daemon that is taken over.
fn bind_admin(
    address: std::net::SocketAddr,
    arrival: &mut Arrival,
) -> Result<std::net::TcpListener> {
    if let Some(listener) = arrival.admin(address) {
        info!(%address, "admin listener of the running daemon");
        return Ok(listener);
    }
    let listener = std::net::TcpListener::bind(address).with_context(|| {
        format!("--admin {address}: cannot listen there; give a free port, 0 for any, or `off`")
    })?;
    listener.set_nonblocking(true)?;
    info!(address = %listener.local_addr()?, "admin listener");
    Ok(listener)
}

/// The two ends of each worker's commands.
fn worker_links(workers: u32) -> (Vec<WorkerLink>, Vec<UnboundedReceiver<WorkerCommand>>) {
    (0..workers).map(|_| unbounded_channel()).unzip()
}

fn slot_assigner(regions: Regions) -> control::SlotAssigner {
    let mut slots = PathSlots::new(regions);
    Box::new(move |names| {
        let assignment = slots.assign(names);
        if assignment.unplaced > 0 {
            error!(
                paths = assignment.unplaced,
                most = gateway_common::abi::MAX_PATHS,
                "more configured paths than counter rows; these count under no path"
            );
        }
        assignment.slots
    })
}

fn start_worker(
    parts: WorkerParts,
    commands: UnboundedReceiver<WorkerCommand>,
) -> io::Result<JoinHandle<()>> {
    let id = parts.id;
    thread::Builder::new().name(format!("worker-{id}")).spawn(move || {
        if let Err(error) = proxy::run(parts, commands) {
            error!(worker = id, %error, "a worker cannot run");
        }
    })
}

/// Serves observers and follows signals, on this thread, until told to stop, or until a successor
/// serves.
fn wait(
    admin: Option<std::net::TcpListener>,
    observed: Arc<Observed>,
    readiness: &Readiness,
    (triggers, mut relieved): (&Sender<Trigger>, oneshot::Receiver<()>),
    writer: &SnapshotWriter,
    settings: &Settings,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::listen().context("cannot listen to signals")?;
        if let Some(listener) = admin {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::spawn(admin::serve(listener, observed));
        }
        info!(
            generation = writer.current().generation,
            workers = settings.workers,
            datapath = settings.datapath.word(),
            "ready"
        );
        lifecycle::notify(NotifyState::Ready);
        loop {
            let request = tokio::select! {
                request = signals.next() => request,
                _ = &mut relieved => return Ok(()),
            };
            if request == Request::Stop {
                break;
            }
            if triggers.send(Trigger::Reload).is_err() {
                bail!("the control thread has ended");
            }
        }
        readiness.drain();
        if triggers.send(Trigger::Stop).is_err() {
            warn!("the control thread had ended");
        }
        Ok(())
    })
}

fn join<T>(thread: JoinHandle<T>, name: &str) -> Result<T> {
    thread.join().map_err(|_| anyhow::anyhow!("the {name} thread panicked"))
}
