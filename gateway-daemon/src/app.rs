//! The composition root: builds everything, starts and stops it in order.
//!
//! Start: read the configuration, load and attach the kernel half, open sockets, give up
//! privileges, publish, start threads, steer, ready. Stop: not ready, take no more, drain, detach.

mod bans;
mod bans_command;
mod commands;
mod ports;
mod routes;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail};
use sd_notify::NotifyState;
use tokio::sync::mpsc::unbounded_channel;
use tracing::{error, info, warn};

use self::ports::{OpenPorts, WorkerLink};
use self::routes::Routes;
use crate::admin::{self, Observed};
use crate::authn::CacheCounters;
use crate::bpf::{self, AttachOptions, Detached, LoadOptions, Privileged};
use crate::control::{self, Prepared, Trigger};
use crate::counters::{Gauge, PathSlots, Regions};
use crate::lifecycle::{self, Readiness, Request, Signals};
use crate::model::attachment::Attachment;
use crate::proxy::{self, LogWriter, WorkerCommand, WorkerParts};
use crate::settings::{Datapath, Settings};
use crate::snapshot::SnapshotWriter;

pub use self::commands::dispatch;

/// Serves until told to stop.
fn run(settings: &Settings) -> Result<()> {
    let readiness = Readiness::default();
    let starting = readiness.task("start");
    let prepared = Prepared::read(control::Settings {
        paths: settings.config.clone(),
        ignore_kinds: settings.ignore_kinds.clone(),
        keys: control::KeySettings {
            allow_private: settings.keys.allow_private,
            authorities: settings.keys.authorities.clone(),
            state_directory: Some(settings.keys.state_directory.clone()),
        },
    })?;
    let addresses = prepared.listen_addresses();
    let admin = settings.admin.map(bind_admin).transpose()?;
    let (regions, mut ports) = match settings.datapath {
        Datapath::Ebpf => attach(settings)?,
        Datapath::Off => plain(settings)?,
    };
    let ground = bans::prepare(settings)?;
    let (links, mut receivers) = worker_links(settings.workers);
    ports.link(links).context("cannot open the workers' sockets")?;
    control::Ports::open(&mut ports, &addresses).map_err(anyhow::Error::msg)?;
    ports.relinquish(prepared.needs_read_privilege())?;

    let mut control = prepared.publish(slot_assigner(regions.clone()));
    let writer = control.writer();
    let log = LogWriter::start(&settings.access_log)
        .with_context(|| format!("--access-log: cannot open {:?}", settings.access_log))?;
    let (log, log_thread) = log.unzip();
    let bans = bans::start(settings, ground, &regions)?;
    let gauge = Gauge::default();
    let (guard, drained) = lifecycle::drain();
    let mut token_caches = Vec::new();
    let mut workers = Vec::new();
    for (id, receiver) in (0..).zip(receivers.drain(..)) {
        let token_cache = CacheCounters::default();
        token_caches.push(token_cache.clone());
        let seed = WorkerParts {
            id,
            limits: Arc::new(settings.limits.clone()),
            snapshots: writer.reader(),
            counters: regions.worker(id).context("a worker has no counter rows")?,
            gauge: gauge.clone(),
            token_cache,
            access_log: log.clone(),
            marks: settings.datapath == Datapath::Ebpf,
            watch: bans.as_ref().map(bans::Bans::watch),
            drain: guard.clone(),
        };
        workers.push(start_worker(seed, receiver)?);
    }
    drop(guard);
    let observed = Arc::new(Observed {
        regions,
        readiness: readiness.clone(),
        gauge,
        token_caches,
        snapshots: writer.clone(),
        control: control.status(),
        shadow: control.shadow(),
        log_dropped: log.as_ref().map(LogWriter::dropped),
        bans: bans.as_ref().map(bans::Bans::status),
        interfaces: ports.interfaces(),
        datapath: settings.datapath.word(),
    });
    drop(log);
    let (triggers, received) = channel();
    control.fetch_keys(triggers.clone()).context("cannot start the thread that fetches keys")?;
    let control_thread = thread::Builder::new().name("control".to_owned()).spawn(move || {
        control.run(&mut ports, &received);
        ports
    })?;
    drop(starting);
    wait(admin, observed, &readiness, &triggers, &writer, settings)?;

    info!(timeout = ?settings.drain_timeout, "draining");
    let mut ports = join(control_thread, "control")?;
    ports.close_all();
    ports.tell(&WorkerCommand::drain);
    if !drained.wait(settings.drain_timeout) {
        warn!("requests still under way after the drain timeout are cut off");
        ports.tell(&WorkerCommand::abort);
    }
    for worker in workers {
        join(worker, "worker")?;
    }
    bans.map(bans::Bans::end).transpose()?;
    if let Some(thread) = log_thread {
        join(thread, "access log")?;
    }
    drop(ports);
    if settings.unpin_on_exit && settings.datapath == Datapath::Ebpf {
        bpf::unload(&settings.pin_directory).context("cannot remove the pins")?;
    }
    info!("stopped");
    Ok(())
}

/// Loads and attaches the kernel half.
fn attach(settings: &Settings) -> Result<(Regions, OpenPorts)> {
    const WITHOUT: &str = "the kernel half cannot be attached";
    let privileged = Privileged::acquire().context(WITHOUT)?;
    let options = LoadOptions {
        workers: settings.workers,
        deny_sources: settings.deny_sources.clone(),
        trusted_sources: bans::trusted(settings),
        pin_directory: settings.pin_directory.clone(),
    };
    let loaded = Detached::prepare(options)
        .and_then(|detached| detached.load(&privileged))
        .context(WITHOUT)?;
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
    let ports = OpenPorts::steered(privileged, attached, regions.clone(), Routes::new(settings));
    Ok((regions, ports))
}

/// Serves without the kernel half.
fn plain(settings: &Settings) -> Result<(Regions, OpenPorts)> {
    if !settings.deny_sources.is_empty() {
        bail!(
            "--deny-source drops packets in the kernel half and cannot work with `--datapath off`; \
             drop one of the two"
        );
    }
    warn!("serving without the kernel half: no steering, no packet counters, no pins");
    let regions = Regions::anonymous(settings.workers)?;
    Ok((regions, OpenPorts::bound(Routes::new(settings))))
}

fn bind_admin(address: std::net::SocketAddr) -> Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address).with_context(|| {
        format!("--admin {address}: cannot listen there; give a free port, 0 for any, or `off`")
    })?;
    listener.set_nonblocking(true)?;
    info!(address = %listener.local_addr()?, "admin listener");
    Ok(listener)
}

/// The two ends of each worker's commands.
fn worker_links(
    workers: u32,
) -> (Vec<WorkerLink>, Vec<tokio::sync::mpsc::UnboundedReceiver<WorkerCommand>>) {
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
    commands: tokio::sync::mpsc::UnboundedReceiver<WorkerCommand>,
) -> io::Result<JoinHandle<()>> {
    let id = parts.id;
    thread::Builder::new().name(format!("worker-{id}")).spawn(move || {
        if let Err(error) = proxy::run(parts, commands) {
            error!(worker = id, %error, "a worker cannot run");
        }
    })
}

/// Serves observers and follows signals, on this thread, until told to stop.
fn wait(
    admin: Option<std::net::TcpListener>,
    observed: Arc<Observed>,
    readiness: &Readiness,
    triggers: &Sender<Trigger>,
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
        while signals.next().await == Request::Reload {
            if triggers.send(Trigger::Reload).is_err() {
                bail!("the control thread has ended");
            }
        }
        readiness.drain();
        lifecycle::notify(NotifyState::Stopping);
        if triggers.send(Trigger::Stop).is_err() {
            warn!("the control thread had ended");
        }
        Ok(())
    })
}

fn join<T>(thread: JoinHandle<T>, name: &str) -> Result<T> {
    thread.join().map_err(|_| anyhow::anyhow!("the {name} thread panicked"))
}
