//! The control path: files in, snapshots out. Files in order of travel: `source`, `yaml`, `decode`,
//! `bundle`, `translate`, `publish`.
//!
//! At start a configuration that cannot be read, or that has no valid listener, is fatal; an object
//! that is read but not accepted is logged and serves refusals. Later, a bundle with any error is
//! not published: the last good snapshot stays. Must not know: the proxy, hyper's server types, BPF.

mod bundle;
mod certs;
pub mod check;
mod conditions;
mod decode;
mod fault;
mod jwks;
mod path;
mod publish;
mod source;
#[cfg(test)]
mod tests;
mod translate;
mod yaml;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

pub use bundle::{HARMLESS_KINDS, IgnoredObject};
pub use conditions::{Condition, ConditionType, ObjectReport, Reason, Report};
pub use fault::Fault;
pub use jwks::Settings as KeySettings;
pub use path::FieldPath;
pub use publish::{ListenAddress, SlotAssigner};

use crate::authz::ShadowLedger;
use crate::clock;
use crate::model::topology::Proxies;
use crate::snapshot::{ReloadStatus, Snapshot, SnapshotWriter};
use crate::sys::memory;
use crate::sys::pace::in_turns;
use certs::TlsBuilder;
use jwks::{KeyPlan, Keys};
use publish::Compiled;
use source::{Fingerprint, SourceFile};
use translate::Model;

/// How often files are looked at, at least.
const POLL: Duration = Duration::from_millis(500);
/// How long files have to stay as they are before they are read.
const SETTLE: Duration = Duration::from_millis(100);
/// Looking at the files takes at most this part of one CPU.
const POLL_SHARE: u32 = 50;

/// What the control path reads.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Files and directories.
    pub paths: Vec<PathBuf>,
    /// Kinds to ignore besides [`HARMLESS_KINDS`]: `Kind` or `Kind.group`.
    pub ignore_kinds: Vec<String>,
    /// How keys are fetched and kept.
    pub keys: KeySettings,
    /// Who may speak for clients; none: nobody asks, as where nothing is decided by it.
    pub proxies: Option<Proxies>,
}

/// Why there is nothing to start with.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is broken; every error, a line each.
    #[error("the configuration cannot be used:\n{}", .0.join("\n"))]
    Configuration(Vec<String>),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// What a running control loop is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trigger {
    /// Read again now.
    Reload,
    /// Some key set has changed.
    Keys,
    /// End.
    Stop,
}

/// Who opens and closes ports around a swap: `app`.
pub trait Ports: Send {
    /// Called before the swap with what is new: bind, then steer. An error keeps the last good
    /// snapshot; whatever was opened has to be closed again.
    fn open(&mut self, opened: &[ListenAddress]) -> Result<(), String>;

    /// Called after the swap with what is gone: unsteer, then drain.
    fn close(&mut self, closed: &[ListenAddress]);

    /// Called now and then: see what became of the interfaces.
    fn look(&mut self);
}

/// A configuration that was read and compiled; nothing is served yet.
pub struct Prepared {
    settings: Settings,
    fingerprint: Fingerprint,
    tls: TlsBuilder,
    compiled: Compiled,
    keys: Keys,
    plan: KeyPlan,
    report: Report,
}

/// The control path of a running daemon.
pub struct Control {
    settings: Settings,
    fingerprint: Fingerprint,
    tls: TlsBuilder,
    keys: Keys,
    slots: SlotAssigner,
    writer: SnapshotWriter,
    status: Arc<ReloadStatus>,
    shadow: Arc<ShadowLedger>,
    /// Snapshots that were replaced and that a request or a worker may still have.
    replaced: Vec<Arc<Snapshot>>,
}

/// Reads and translates; what is wrong is in the report.
fn load(settings: &Settings) -> (Model, Report) {
    let (files, faults) = source::read(&settings.paths);
    let (model, mut report) = translate(&files, faults, &settings.ignore_kinds);
    if settings.proxies.as_ref().is_some_and(Proxies::is_empty) {
        let trusting = model.gateways.iter().filter(|gateway| gateway.topology.trusts());
        report.problems.extend(trusting.map(|gateway| {
            format!(
                "{}: gatewayTopology trusts proxies in front, and nobody says which: name them with \
                 --trusted-proxy",
                gateway.object
            )
        }));
    }
    (model, report)
}

fn translate(
    files: &[SourceFile],
    mut faults: Vec<Fault>,
    ignore_kinds: &[String],
) -> (Model, Report) {
    let (bundle, more) = bundle::read(files, ignore_kinds);
    faults.extend(more);
    translate::translate(&bundle, faults)
}

impl Prepared {
    /// Reads and compiles the configuration. Logs what is not accepted.
    pub fn read(settings: Settings) -> Result<Self, StartError> {
        let fingerprint = source::fingerprint(&settings.paths);
        let (model, report) = load(&settings);
        if !report.faults.is_empty() || !report.problems.is_empty() {
            return Err(StartError::Configuration(report.errors().collect()));
        }
        let tls = TlsBuilder::new()?;
        let keys = Keys::new(settings.keys.clone());
        let plan = keys.plan(&model);
        let proxies = settings.proxies.clone().unwrap_or_default();
        let compiled = publish::compile(model, &tls, &plan, &proxies)?;
        log(&report, &compiled.warnings);
        Ok(Self { settings, fingerprint, tls, compiled, keys, plan, report })
    }

    /// Every address and port to bind and steer.
    pub fn listen_addresses(&self) -> Vec<ListenAddress> {
        self.compiled.listen_addresses().into_iter().collect()
    }

    /// Whether a later reading needs the privilege to read what belongs to other users, as where a
    /// user's manifests lie in a home directory that is closed to others.
    pub fn needs_read_privilege(&self) -> bool {
        let own = std::fs::metadata("/proc/self").map_or(0, |meta| meta.uid());
        source::needs_privilege(&self.settings.paths, own)
    }

    /// What became of every object.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Makes generation 1.
    pub fn publish(mut self, mut slots: SlotAssigner) -> Control {
        let status = Arc::new(ReloadStatus::default());
        self.keys.adopt(self.plan);
        status.published(1, clock::unix_now().0);
        let first = self.compiled.snapshot(1, &mut slots);
        let shadow = Arc::new(ShadowLedger::default());
        shadow.follow(first.shadow_tallies());
        Control {
            writer: SnapshotWriter::new(first),
            settings: self.settings,
            fingerprint: self.fingerprint,
            tls: self.tls,
            keys: self.keys,
            slots,
            status,
            shadow,
            replaced: Vec::new(),
        }
    }
}

impl Control {
    /// The writing end of the snapshot, for readers.
    pub fn writer(&self) -> SnapshotWriter {
        self.writer.clone()
    }

    /// How reloads went.
    pub fn status(&self) -> Arc<ReloadStatus> {
        Arc::clone(&self.status)
    }

    /// What policies that never decide would have said.
    pub fn shadow(&self) -> Arc<ShadowLedger> {
        Arc::clone(&self.shadow)
    }

    /// Starts to fetch the keys that are not in the files. New ones arrive as [`Trigger::Keys`], so
    /// `triggers` has to lead to [`Self::run`].
    pub fn fetch_keys(&mut self, triggers: Sender<Trigger>) -> io::Result<()> {
        self.keys.start(triggers)
    }

    /// Waits until every source of keys has some, or has been asked in vain, at most so long: who
    /// takes over from a daemon that has keys should not refuse tokens for want of them.
    pub fn await_keys(&mut self, triggers: &Receiver<Trigger>, patience: Duration) {
        let end = clock::monotonic() + patience;
        let writer = self.writer.clone();
        let wanting = || {
            let feeds = &writer.current().feeds;
            feeds.iter().any(|feed| feed.fetched_at().is_none() && feed.last().is_none())
        };
        while wanting() && clock::monotonic() < end {
            if triggers.recv_timeout(POLL / 10) == Ok(Trigger::Keys) {
                self.renew_keys();
            }
        }
        self.renew_keys();
    }

    /// Follows triggers and the files until told to stop, or until nobody can tell; may be called
    /// again. Blocks: give it a thread of its own.
    pub fn run(&mut self, ports: &mut dyn Ports, triggers: &Receiver<Trigger>) {
        let mut pause = POLL;
        loop {
            self.free_replaced();
            match triggers.recv_timeout(pause) {
                Ok(Trigger::Reload) => {
                    tracing::info!("reload asked for");
                    self.reload(ports);
                }
                Ok(Trigger::Keys) => self.renew_keys(),
                Ok(Trigger::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    ports.look();
                    let started = clock::monotonic();
                    let now = source::fingerprint(&self.settings.paths);
                    pause = POLL.max(started.elapsed().saturating_mul(POLL_SHARE));
                    if self.is_settled_change(&now) {
                        tracing::info!("configuration files changed");
                        self.reload(ports);
                    }
                }
            }
        }
    }

    /// Frees the snapshots that nobody else has any more, and gives their memory back.
    fn free_replaced(&mut self) {
        let is_shared = |snapshot: &Arc<Snapshot>| Arc::strong_count(snapshot) > 1;
        if !self.replaced.iter().all(is_shared) {
            in_turns(|| {
                self.replaced.retain(is_shared);
                memory::give_back();
            });
        }
    }

    /// Whether the files differ from what was read, and have come to rest.
    fn is_settled_change(&self, now: &Fingerprint) -> bool {
        if *now == self.fingerprint {
            return false;
        }
        std::thread::sleep(SETTLE);
        *now == source::fingerprint(&self.settings.paths)
    }

    /// Reads, compiles and publishes; with any error the last good snapshot stays.
    pub fn reload(&mut self, ports: &mut dyn Ports) {
        match self.try_reload(ports) {
            Ok(generation) => {
                self.status.published(generation, clock::unix_now().0);
                tracing::info!(generation, "configuration published");
            }
            Err(errors) => {
                self.status.failed(clock::unix_now().0);
                let generation = self.writer.current().generation;
                for error in &errors {
                    tracing::error!("{error}");
                }
                tracing::error!(
                    generation,
                    errors = errors.len(),
                    "configuration not published; the last good one stays"
                );
            }
        }
    }

    /// Publishes what changed keys change. Everything else stays, files are not read.
    fn renew_keys(&mut self) {
        let Some(authenticators) = self.keys.renewed() else { return };
        let next = self.writer.current().with_authenticators(authenticators);
        let generation = next.generation;
        self.replaced.push(self.writer.publish(next));
        tracing::info!(generation, "keys published");
    }

    fn try_reload(&mut self, ports: &mut dyn Ports) -> Result<u64, Vec<String>> {
        let (compiled, plan) = in_turns(|| self.recompile())?;
        let last = self.writer.current();
        let (old, new) = (publish::listen_addresses(&last.ports), compiled.listen_addresses());
        let opened: Vec<_> = new.difference(&old).copied().collect();
        let closed: Vec<_> = old.difference(&new).copied().collect();
        if !opened.is_empty() {
            ports.open(&opened).map_err(|error| vec![error])?;
        }
        let generation = last.generation + 1;
        let next = in_turns(|| compiled.snapshot(generation, &mut self.slots));
        let tallies = next.shadow_tallies();
        self.replaced.push(self.writer.publish(next));
        self.shadow.follow(tallies);
        self.keys.adopt(plan);
        if !closed.is_empty() {
            ports.close(&closed);
        }
        Ok(generation)
    }

    /// Reads and compiles again.
    fn recompile(&mut self) -> Result<(Compiled, KeyPlan), Vec<String>> {
        // Before reading: what changes meanwhile is seen by the next look.
        self.fingerprint = source::fingerprint(&self.settings.paths);
        let (mut model, report) = load(&self.settings);
        if report.has_errors() {
            return Err(report.errors().collect());
        }
        model.keep_tallies(&self.writer.current().providers());
        let plan = self.keys.plan(&model);
        let proxies = self.settings.proxies.clone().unwrap_or_default();
        let compiled = publish::compile(model, &self.tls, &plan, &proxies)
            .map_err(|error| vec![format!("TLS cannot be set up: {error}")])?;
        log(&report, &compiled.warnings);
        Ok((compiled, plan))
    }
}

/// Tells what is not as it should be, and what was ignored.
fn log(report: &Report, warnings: &[String]) {
    for object in &report.ignored {
        tracing::info!("{}:{}: {}: this kind is ignored", object.file, object.line, object.object);
    }
    for object in &report.objects {
        for note in &object.notes {
            tracing::info!("{}:{}: {}: {note}", object.file, object.line, object.object);
        }
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    for error in report.errors() {
        tracing::error!("{error}");
    }
}
