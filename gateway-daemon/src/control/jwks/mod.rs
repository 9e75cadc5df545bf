//! Keys that are not in the manifests: fetched, kept, and handed to the data path.
//!
//! Every source has a task of its own on one thread of its own, so that a slow issuer delays
//! neither another one, nor start-up, nor a request. Workers see a new set as a new snapshot; what
//! they say back is one atomic flag per source ([`KeyFeed`]). See `docs/keys.md`.

mod connect;
mod disk;
mod fetch;
mod guard;
mod refresh;
mod schedule;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::Trigger;
use super::translate::Model;
use crate::authn::{Authenticator, StoredKeys, inspect_keys};
use crate::model::jwt::{JwtRule, KeySource};
use crate::model::keys::{KeyFeed, RemoteKeys};
use crate::model::path::CountedPath;

/// What holds for every source.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Loopback and private addresses are allowed for every source.
    pub allow_private: bool,
    /// Certificate authorities to trust where a source names none; none: the system's.
    pub authorities: Option<PathBuf>,
    /// Where the last good sets are kept; none: nowhere.
    pub state_directory: Option<PathBuf>,
}

/// A source with what is there of its keys.
struct Entry {
    source: Arc<RemoteKeys>,
    feed: Arc<KeyFeed>,
    /// The last good set. Never touched by workers.
    text: Mutex<Option<Arc<str>>>,
}

impl Entry {
    /// Without keys, or with those that were kept on disk.
    fn new(source: &Arc<RemoteKeys>, settings: &Settings) -> Self {
        let entry = Self {
            source: Arc::clone(source),
            feed: Arc::new(KeyFeed::new(source)),
            text: Mutex::default(),
        };
        if let Some(kept) = disk::load(settings.state_directory.as_deref(), source) {
            let report = inspect_keys(source, &kept.text);
            if report.usable > 0 {
                entry.feed.keys(report.usable, report.skipped, kept.fetched_at);
                entry.set(kept.text);
            }
        }
        entry
    }

    fn text(&self) -> Option<Arc<str>> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the set; tells whether that changes anything.
    fn set(&self, text: Arc<str>) -> bool {
        let mut current = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref() == Some(&text) {
            return false;
        }
        *current = Some(text);
        true
    }
}

/// The sources of one configuration, and the token rules that use them.
#[derive(Default)]
pub(super) struct KeyPlan {
    /// By Gateway: rules, and paths where tokens are ignored.
    rules: Vec<(Vec<JwtRule>, Vec<CountedPath>)>,
    entries: Vec<Arc<Entry>>,
}

impl KeyPlan {
    /// The rules compiled with the keys of now, by Gateway, and what was left out and why.
    pub(super) fn authenticators(&self) -> (Vec<Authenticator>, Vec<Vec<String>>) {
        let store = |source: &RemoteKeys| {
            let entry = self.entries.iter().find(|entry| *entry.source == *source)?;
            Some(StoredKeys { text: entry.text(), feed: Arc::clone(&entry.feed) })
        };
        let rules = self.rules.iter();
        let compile = |(rules, ignored): &(Vec<JwtRule>, Vec<CountedPath>)| {
            Authenticator::compile_with(rules.clone(), ignored.clone(), &store)
        };
        rules.map(compile).unzip()
    }

    /// How each source is doing.
    pub(super) fn feeds(&self) -> Vec<Arc<KeyFeed>> {
        self.entries.iter().map(|entry| Arc::clone(&entry.feed)).collect()
    }
}

/// A source that is being looked after.
struct Task {
    entry: Arc<Entry>,
    abort: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

/// The thread that fetches.
struct Fetcher {
    handle: Handle,
    changed: Changed,
    tasks: Vec<Task>,
    /// Dropped with this, which ends the thread.
    _stop: oneshot::Sender<()>,
}

/// Tells the control loop that some set has changed.
#[derive(Clone)]
struct Changed {
    pending: Arc<AtomicBool>,
    triggers: Sender<Trigger>,
}

impl Changed {
    fn tell(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) && self.triggers.send(Trigger::Keys).is_err()
        {
            tracing::debug!("new keys come too late: the control loop has ended");
        }
    }
}

/// The keys of every source, on the control thread.
pub(super) struct Keys {
    settings: Arc<Settings>,
    plan: KeyPlan,
    fetcher: Option<Fetcher>,
}

impl Keys {
    /// Nothing is fetched before [`Self::start`].
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings: Arc::new(settings), plan: KeyPlan::default(), fetcher: None }
    }

    /// The sources of a model: those that are known keep their keys, new ones have what is on
    /// disk. Changes nothing yet.
    pub(super) fn plan(&self, model: &Model) -> KeyPlan {
        let rules: Vec<(Vec<JwtRule>, Vec<CountedPath>)> = model
            .gateways
            .iter()
            .map(|gateway| (gateway.jwt_rules.clone(), gateway.ignore_token_paths.clone()))
            .collect();
        let mut entries: Vec<Arc<Entry>> = Vec::new();
        for rule in rules.iter().flat_map(|(rules, _)| rules) {
            let KeySource::Remote(source) = &rule.keys else { continue };
            if entries.iter().any(|entry| *entry.source == **source) {
                continue;
            }
            let known = self.plan.entries.iter().find(|entry| *entry.source == **source);
            entries.push(
                known.map_or_else(|| Arc::new(Entry::new(source, &self.settings)), Arc::clone),
            );
        }
        KeyPlan { rules, entries }
    }

    /// Makes a plan the one in force: new sources are looked after, gone ones no more.
    pub(super) fn adopt(&mut self, plan: KeyPlan) {
        self.plan = plan;
        let Some(fetcher) = &mut self.fetcher else { return };
        let entries = &self.plan.entries;
        fetcher.tasks.retain(|task| entries.iter().any(|entry| Arc::ptr_eq(entry, &task.entry)));
        for entry in entries {
            if fetcher.tasks.iter().any(|task| Arc::ptr_eq(&task.entry, entry)) {
                continue;
            }
            let task = refresh::run(
                Arc::clone(entry),
                Arc::clone(&self.settings),
                fetcher.changed.clone(),
            );
            let abort = fetcher.handle.spawn(task).abort_handle();
            fetcher.tasks.push(Task { entry: Arc::clone(entry), abort });
        }
    }

    /// Starts fetching, on a thread of its own. `triggers` gets [`Trigger::Keys`] when a set has
    /// changed.
    pub(super) fn start(&mut self, triggers: Sender<Trigger>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new().name("keys".to_owned()).spawn(move || {
            if runtime.block_on(stopped).is_ok() {
                tracing::debug!("told to stop fetching keys");
            }
            // A name server that does not answer must not hold up the end.
            runtime.shutdown_background();
        })?;
        let changed = Changed { pending: Arc::default(), triggers };
        self.fetcher = Some(Fetcher { handle, changed, tasks: Vec::new(), _stop: stop });
        let plan = std::mem::take(&mut self.plan);
        self.adopt(plan);
        Ok(())
    }

    /// The rules compiled with the keys of now, if some set has changed since the last call.
    pub(super) fn renewed(&self) -> Option<Vec<Authenticator>> {
        let fetcher = self.fetcher.as_ref()?;
        // Before reading the sets: what changes meanwhile is told again.
        let changed = fetcher.changed.pending.swap(false, Ordering::AcqRel);
        changed.then(|| self.plan.authenticators().0)
    }
}
