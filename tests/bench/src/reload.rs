//! What clients notice while thousands of routes are reloaded: lost requests, and the latency of
//! those that were answered meanwhile.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use crate::client::Report;
use crate::clock::{self, now};
use crate::field::{self, Field, Gateway};
use crate::load::{Waiting, own_client, tail_of};
use crate::material::Tokens;
use crate::peer::write_manifests;
use crate::results::Round;
use crate::scenario::{Entry, FREE, Figure, Tool, Traffic};
use crate::stats::{Spread, real};

/// Load before the first reload and between two of them, milliseconds.
const CALM: u64 = 2_000;
const PATIENCE: Duration = Duration::from_mins(1);
const TRAFFIC: Traffic =
    Traffic { tool: Tool::Wrk, tls: false, path: FREE, tokens: Tokens::None, status: 200 };

/// All rounds; for each, a figure per gateway.
pub(crate) fn rounds(
    field: &Field,
    entries: &[Entry],
    mut progress: impl FnMut(u32),
) -> Result<Vec<Vec<Round>>> {
    let mut rounds = Vec::new();
    // Each has several reloads.
    for number in 1..=field.effort.rounds.div_ceil(2) {
        progress(number);
        let round = entries.iter().enumerate().map(|(at, entry)| {
            let gateway = field.start(at, *entry, None)?;
            one(field, at, &gateway)
        });
        rounds.push(round.collect::<Result<_>>()?);
    }
    Ok(rounds)
}

/// A stretch of time, in microseconds since 1970.
type Stretch = (u64, u64);

fn one(field: &Field, at: usize, gateway: &Gateway) -> Result<Round> {
    let log = field.folder.join("reload.log");
    let path = log.to_string_lossy();
    let words = ["timed", "--log", &path];
    let client = Waiting::start(field, own_client(&words, gateway, TRAFFIC)?)?;
    clock::pause(CALM);
    let mut reloads = Vec::new();
    for edition in 1..=field.effort.reloads {
        reloads.push(reload(field, at, gateway, edition)?);
        clock::pause(CALM);
    }
    let report: Report = serde_json::from_str(client.end()?.trim()).context("a client's report")?;
    let text = std::fs::read_to_string(&log).context("the client's log")?;
    let answers: Vec<(u64, f64)> = text.lines().filter_map(line).collect();
    let during = |when: u64| reloads.iter().any(|(from, to)| (*from..=*to).contains(&when));
    let some = |wanted: bool| {
        answers.iter().filter(move |(when, _)| during(*when) == wanted).map(|(_, took)| *took)
    };
    let tail = tail_of(some(true)) / tail_of(some(false)).max(1.0);
    let times = reloads.iter().map(|(from, to)| real(to - from) / 1e3);
    let time = Spread::of(times).map_or(0.0, |spread| spread.median);
    let figures = [
        (Figure::Lost, real(report.failed)),
        (Figure::ReloadTail, tail),
        (Figure::ReloadTime, time),
    ];
    Ok(Round { figures: figures.into(), requests: report.answered, noise: 0.0 })
}

fn line(text: &str) -> Option<(u64, f64)> {
    let (when, took) = text.split_once(' ')?;
    Some((when.parse().ok()?, took.parse().ok()?))
}

/// Changes every route, says so, and waits until the change is in force.
fn reload(field: &Field, at: usize, gateway: &Gateway, edition: u32) -> Result<Stretch> {
    let before = generation(gateway)?;
    let site = field.site(at, &gateway.entry, None)?;
    write_manifests(&site, edition)?;
    let begun = clock::unix_microseconds();
    gateway.process.signal(Signal::SIGHUP)?;
    let end = now() + PATIENCE;
    while generation(gateway)? == before {
        if now() > end {
            bail!("a reload did not come into force: {}", gateway.process.tail());
        }
        clock::pause(5);
    }
    Ok((begun, clock::unix_microseconds()))
}

/// Asked every few milliseconds, so not of `/metrics`: with 10,000 routes that is 10 MB, and what
/// clients noticed was the making of them.
fn generation(gateway: &Gateway) -> Result<u64> {
    let text = field::get(gateway.admin, "/readyz")?;
    let line = text.lines().find_map(|line| line.strip_prefix("generation: "));
    let number = line.context("no generation in the answer of /readyz")?;
    number.trim().parse().context("the generation is no number")
}
