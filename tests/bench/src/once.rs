//! CPU time per token that was never seen: each token once, by gateways that were started anew.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::client::Report;
use crate::clock;
use crate::field::{Field, Gateway, settle};
use crate::load::{Generator, Waiting, own_client};
use crate::material::Tokens;
use crate::noise::Noise;
use crate::results::Round;
use crate::scenario::{Entry, FREE, Figure, Traffic};
use crate::stats::{Shuffle, real};

/// Presents every token of a file once, without counting.
pub(crate) fn present(
    field: &Field,
    gateway: &Gateway,
    traffic: Traffic,
    file: &Path,
) -> Result<()> {
    let mut client = start(field, gateway, traffic, file)?;
    client.begin()?;
    report(gateway, client).map(|_| ())
}

/// All rounds; for each, a figure per gateway.
pub(crate) fn rounds(
    field: &Field,
    traffic: Traffic,
    entries: &[Entry],
    mut progress: impl FnMut(u32),
) -> Result<Vec<Vec<Round>>> {
    let mut shuffle = Shuffle::new(clock::unix_microseconds());
    let mut rounds = Vec::new();
    // A round takes as long as several of others do, and has as many requests.
    for number in 1..=field.effort.rounds.div_ceil(2) {
        progress(number);
        let start = |(at, entry): (usize, &Entry)| field.launch(at, *entry, None);
        let gateways = entries.iter().enumerate().map(start).collect::<Result<Vec<_>>>()?;
        rounds.push(round(field, traffic, &gateways, &mut shuffle)?);
    }
    Ok(rounds)
}

fn start(field: &Field, gateway: &Gateway, traffic: Traffic, file: &Path) -> Result<Waiting> {
    let most = field.effort.tokens.to_string();
    let file = file.to_string_lossy();
    let words = ["once", "--tokens", &file, "--most", &most];
    Waiting::start(field, own_client(&words, gateway, traffic)?)
}

fn round(
    field: &Field,
    traffic: Traffic,
    gateways: &[Gateway],
    shuffle: &mut Shuffle,
) -> Result<Vec<Round>> {
    let file = field.material.tokens(traffic.tokens).context("no tokens")?;
    // Code and connections warm, tokens unknown.
    let free = Traffic { path: FREE, tokens: Tokens::None, ..traffic };
    for gateway in gateways {
        Generator::alone(field, gateway, free, 1)?;
    }
    let start = |gateway| start(field, gateway, traffic, &file);
    let mut clients = gateways.iter().map(start).collect::<Result<Vec<_>>>()?;
    settle(&gateways.iter().map(|gateway| &gateway.process).collect::<Vec<_>>());
    let cpu = || gateways.iter().map(|gateway| gateway.process.cpu()).collect::<Vec<_>>();
    let noise = Noise::begin()?;
    let (before, upstream) = (cpu(), field.upstream.cpu());
    for client in &mut clients {
        client.process.freeze()?;
        client.begin()?;
    }
    let mut load = Duration::ZERO;
    let mut waiting: Vec<usize> = (0..clients.len()).collect();
    while !waiting.is_empty() {
        for place in shuffle.order(waiting.len()) {
            load += turn(field, &mut clients[waiting[place]])?;
        }
        waiting.retain(|&at| !clients[at].is_through());
    }
    let used: Vec<Duration> =
        cpu().iter().zip(before).map(|(after, before)| after.saturating_sub(before)).collect();
    let known =
        used.iter().sum::<Duration>() + field.upstream.cpu().saturating_sub(upstream) + load;
    let noise = noise.end(known)?;
    let mut rounds = Vec::new();
    for ((gateway, client), used) in gateways.iter().zip(clients).zip(used) {
        let requests = report(gateway, client)?.answered;
        let cpu = used.as_secs_f64() * 1e6 / real(requests.max(1));
        rounds.push(Round { figures: [(Figure::Cpu, cpu)].into(), requests, noise });
    }
    Ok(rounds)
}

/// Lets one gateway have its load for a while; gives what the load used.
fn turn(field: &Field, client: &mut Waiting) -> Result<Duration> {
    let before = client.process.cpu();
    client.process.thaw()?;
    clock::pause(field.effort.slice);
    let used = client.process.cpu().saturating_sub(before);
    if !client.is_through() {
        client.process.freeze()?;
    }
    Ok(used)
}

fn report(gateway: &Gateway, client: Waiting) -> Result<Report> {
    let report: Report = serde_json::from_str(client.end()?.trim()).context("a client's report")?;
    let name = gateway.entry.name();
    let first = report.first_failure.as_deref().unwrap_or_default();
    ensure!(report.failed == 0, "{name}: {} tokens got no 200: {first}", report.failed);
    Ok(report)
}
