//! The task of one source: fetch, judge, hand over, wait; for as long as the source is configured.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::fetch::{self, Fetched};
use super::{Changed, Entry, Settings, disk, schedule};
use crate::authn::inspect_keys;
use crate::clock;
use crate::model::keys::{FetchOutcome, KeyPlace};

/// How often a worker's wish is looked for.
const LOOK: Duration = Duration::from_millis(200);
/// How often a file is read.
const FILE: Duration = Duration::from_secs(2);

/// Looks after a source until aborted. One fetch at a time.
pub(super) async fn run(entry: Arc<Entry>, settings: Arc<Settings>, changed: Changed) {
    let mut failures = 0;
    loop {
        let started = clock::monotonic();
        entry.feed.begin();
        let fetched = fetch::fetch(&entry.source, &settings).await;
        let pause = match fetched.and_then(|fetched| accept(&entry, &settings, &changed, fetched)) {
            Ok(fresh) => {
                failures = 0;
                entry.feed.note(FetchOutcome::Fetched);
                match entry.source.place {
                    KeyPlace::File(_) => FILE,
                    _ => schedule::after_success(fresh, &entry.source.options),
                }
            }
            Err(error) => {
                failures += 1;
                entry.feed.note(error.outcome);
                let kept = entry.feed.fetched_at().is_some();
                let (issuer, place) = (&entry.feed.issuer, &entry.feed.place);
                let result = error.outcome.word();
                if kept {
                    tracing::warn!(%issuer, %place, result, %error, "keys not fetched; the last good set stays");
                } else {
                    tracing::warn!(%issuer, %place, result, %error, "keys not fetched; tokens of this issuer are refused");
                }
                schedule::after_failure(failures, &entry.source.options)
            }
        };
        while started.elapsed() < pause {
            if entry.feed.is_wanted() && started.elapsed() >= entry.source.options.window {
                tracing::debug!(issuer = %entry.feed.issuer, "a token names an unknown key");
                break;
            }
            tokio::time::sleep(LOOK.min(pause.saturating_sub(started.elapsed()))).await;
        }
    }
}

/// Takes over a document if it is a key set that can be used; else the last good one stays.
fn accept(
    entry: &Entry,
    settings: &Settings,
    changed: &Changed,
    fetched: Fetched,
) -> Result<Option<Duration>, fetch::Error> {
    let Fetched { text, fresh } = fetched;
    let report = inspect_keys(&entry.source, &text);
    if report.usable == 0 {
        let why = report.notes.first().map_or("it is empty", String::as_str);
        let message = format!("the key set holds no usable key: {why}");
        return Err(fetch::Error { outcome: FetchOutcome::Content, message });
    }
    let now = clock::unix_now().0;
    entry.feed.keys(report.usable, report.skipped, now);
    let text: Arc<str> = text.into();
    if entry.set(Arc::clone(&text)) {
        let (issuer, place) = (&entry.feed.issuer, &entry.feed.place);
        for note in &report.notes {
            tracing::warn!(%issuer, %place, "{note}");
        }
        tracing::info!(%issuer, %place, keys = report.usable, skipped = report.skipped, "new keys");
        changed.tell();
    }
    keep(settings.state_directory.as_deref(), entry, &text, now);
    Ok(fresh)
}

/// Also where nothing changed: the age is part of what is kept.
fn keep(directory: Option<&Path>, entry: &Entry, text: &str, now: u64) {
    if let Err(error) = disk::save(directory, &entry.source, text, now) {
        let issuer = &entry.feed.issuer;
        tracing::warn!(%issuer, %error, "keys cannot be kept on disk; see --state-directory");
    }
}
