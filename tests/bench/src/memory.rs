//! Memory of many idle TLS connections, and whether it is given back.

use std::time::Duration;

use anyhow::Result;

use crate::clock;
use crate::field::{Field, Gateway, settle};
use crate::load::{Waiting, own_client};
use crate::material::Tokens;
use crate::results::Round;
use crate::scenario::{Entry, Figure, PROTECTED, Tool, Traffic};
use crate::stats::real;

/// Seconds after the last connection ended until memory is looked at again.
const AFTER: u64 = 5;
const TRAFFIC: Traffic =
    Traffic { tool: Tool::Wrk, tls: true, path: PROTECTED, tokens: Tokens::One, status: 200 };

/// All rounds; for each, a figure per gateway.
pub(crate) fn rounds(
    field: &Field,
    entries: &[Entry],
    mut progress: impl FnMut(u32),
) -> Result<Vec<Vec<Round>>> {
    let mut rounds = Vec::new();
    // Memory hardly differs from one round to the next.
    for number in 1..=field.effort.rounds.div_ceil(2) {
        progress(number);
        let round = entries.iter().enumerate().map(|(at, entry)| {
            let gateway = field.start(at, *entry, None)?;
            one(field, &gateway)
        });
        rounds.push(round.collect::<Result<_>>()?);
    }
    Ok(rounds)
}

fn one(field: &Field, gateway: &Gateway) -> Result<Round> {
    let connections = field.effort.idle;
    let number = connections.to_string();
    let tokens = field.material.path("one.txt").display().to_string();
    let words = ["idle", "--connections", &number, "--tokens", &tokens];
    let memory = || {
        settle(&[&gateway.process]);
        gateway.process.memory()
    };
    clock::pause(500);
    let idle = memory();
    let client = Waiting::start(field, own_client(&words, gateway, TRAFFIC)?)?;
    clock::pause(1_000);
    let full = memory();
    client.end()?;
    std::thread::sleep(Duration::from_secs(AFTER));
    let after = memory();
    let [idle, full, after] = [idle, full, after].map(real);
    let each = (full - idle) / real(connections as u64);
    let figures = [
        (Figure::PerConnection, each),
        (Figure::GivenBack, after / idle.max(1.0)),
        (Figure::Idle, idle / 1_024.0),
    ];
    Ok(Round { figures: figures.into(), requests: connections as u64, noise: 0.0 })
}
