//! A run: scenario by scenario, each with its gateways, its rounds and its table.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::field::{Field, Gateway};
use crate::options::Options;
use crate::peer::{Peer, Programs};
use crate::results::{Entry as Found, Measured, Results, Round, Window};
use crate::room::Room;
use crate::scenario::{self, Entry, Kind, Scenario};
use crate::{clock, document, memory, once, reload, start, table, turns};

/// Where documents are, from the root of the repository.
pub(crate) const DOCUMENTS: &str = "docs";
/// Sizes between the least and the most, which a quick run leaves out.
const MIDDLE_SIZES: [usize; 3] = [10, 100, 1_000];

/// Measures what the user asked for, and writes it down after every scenario.
pub(crate) fn run(options: &Options, programs: Programs, folder: &Path, into: &Path) -> Result<()> {
    let scenarios = chosen(options)?;
    let field = Field::prepare(folder.to_owned(), programs, options)?;
    crate::process::pin(field.load_core)?;
    let mut results = if into.exists() { Results::read(into)? } else { Results::new(machine()) };
    let count = scenarios.len();
    let mut failed = Vec::new();
    for (at, scenario) in scenarios.iter().enumerate() {
        let begun = clock::now();
        eprintln!("{} ({} of {count}): {}", scenario.id, at + 1, scenario.what);
        // One gateway that cannot be measured is no reason to measure nothing else.
        match measure(&field, scenario) {
            Ok(measured) => {
                print!("{}", table::table(scenario, &measured));
                note_versions(&mut results, scenario, &field.programs);
                results.put(measured);
                results.write(into)?;
                if options.document {
                    // What is there is kept, should the next one be interrupted.
                    document::write(Path::new(DOCUMENTS), &results)?;
                }
            }
            Err(error) => {
                eprintln!("  {}: {error:#}", scenario.id);
                failed.push(scenario.id);
            }
        }
        eprintln!("  {} s", begun.elapsed().as_secs());
    }
    eprintln!("results are in {}", into.display());
    if !failed.is_empty() {
        bail!("could not be measured: {}", failed.join(", "));
    }
    Ok(())
}

/// The scenarios and gateways that the user named.
pub(crate) fn chosen(options: &Options) -> Result<Vec<Scenario>> {
    let mut all = scenario::all();
    let names: Vec<&String> =
        options.scenarios.iter().filter(|name| !name.eq_ignore_ascii_case("all")).collect();
    for name in &names {
        if !all.iter().any(|scenario| scenario.id.eq_ignore_ascii_case(name)) {
            let ids: Vec<_> = all.iter().map(|scenario| scenario.id).collect();
            bail!("there is no scenario {name}; there are {}", ids.join(", "));
        }
    }
    let peers: Vec<Peer> = options.peers.iter().map(|name| peer(name)).collect::<Result<_>>()?;
    let is_wanted = |scenario: &Scenario| {
        names.is_empty() || names.iter().any(|name| scenario.id.eq_ignore_ascii_case(name))
    };
    all.retain(is_wanted);
    for scenario in &mut all {
        scenario.entries.retain(|entry| {
            let wanted = peers.is_empty() || peers.contains(&entry.peer);
            let middle = entry.size.is_some_and(|size| MIDDLE_SIZES.contains(&size));
            wanted && !(options.quick && (middle || is_slow(entry)))
        });
        if options.twice {
            let again = |entry: &Entry| Entry { again: true, ..*entry };
            scenario.entries.extend(scenario.entries.clone().iter().map(again));
        }
    }
    all.retain(|scenario| !scenario.entries.is_empty());
    Ok(all)
}

/// Envoy takes a quarter of a minute to start with so many rules.
fn is_slow(entry: &Entry) -> bool {
    entry.peer == Peer::Envoy && entry.shape.rules > 1_000
}

fn peer(name: &str) -> Result<Peer> {
    <Peer as clap::ValueEnum>::from_str(name, false)
        .map_err(|_| anyhow::anyhow!("there is no gateway {name}; see `--peers` in the document"))
}

fn measure(field: &Field, scenario: &Scenario) -> Result<Measured> {
    let progress = |number| eprintln!("  round {number}");
    let entries = &scenario.entries;
    let mut windows = Vec::new();
    let rounds = match scenario.kind {
        Kind::Turns(traffic) => {
            let gateways = gateways(field, scenario, false)?;
            turns::warm(field, traffic, &gateways)?;
            let rounds = turns::rounds(field, traffic, &gateways, progress)?;
            windows = turns::windows(field, traffic, &gateways)?;
            rounds
        }
        Kind::TurnsOnVeth(traffic) => {
            let gateways = gateways(field, scenario, true)?;
            turns::rounds(field, traffic, &gateways, progress)?
        }
        Kind::Once(traffic) => once::rounds(field, traffic, entries, progress)?,
        Kind::Memory => memory::rounds(field, entries, progress)?,
        Kind::Start => start::rounds(field, entries, progress)?,
        Kind::Reload => reload::rounds(field, entries, progress)?,
    };
    Ok(Measured {
        id: scenario.id.to_owned(),
        date: clock::today(),
        machine: None,
        load_ms: field.effort.load,
        entries: by_gateway(entries, &rounds, &windows),
    })
}

fn gateways(field: &Field, scenario: &Scenario, veth: bool) -> Result<Vec<Gateway>> {
    let start = |(at, entry): (usize, &Entry)| {
        let room = || Room::new(u8::try_from(at)?, field.load_core, &field.folder);
        let room = if veth { Some(room()?) } else { None };
        field.start(at, *entry, room)
    };
    scenario.entries.iter().enumerate().map(start).collect()
}

/// Rows of rounds as columns of gateways.
fn by_gateway(entries: &[Entry], rounds: &[Vec<Round>], windows: &[Vec<Window>]) -> Vec<Found> {
    let column = |(at, entry): (usize, &Entry)| Found {
        name: entry.name(),
        rounds: rounds.iter().filter_map(|round| round.get(at).cloned()).collect(),
        windows: windows.iter().filter_map(|row| row.get(at).copied()).collect(),
    };
    entries.iter().enumerate().map(column).collect()
}

fn note_versions(results: &mut Results, scenario: &Scenario, programs: &Programs) {
    for entry in &scenario.entries {
        if let Some(version) = entry.peer.version(programs) {
            results.versions.insert(entry.peer.name().to_owned(), version);
        }
    }
}

fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |line: &str| line.split_once(':').map_or("", |(_, value)| value.trim()).to_owned();
    let named = |name: &'static str| text.lines().filter(move |line| line.starts_with(name));
    let processor = named("model name").next().map(value).unwrap_or_default();
    let cores = named("processor").count();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{processor}, {cores} cores, Linux {}", kernel.trim())
}

/// Where results go if the user does not say.
pub(crate) fn default_file(folder: &Path) -> PathBuf {
    let second = clock::unix_microseconds() / 1_000_000;
    folder.join(format!("{}-{}.json", clock::today(), second % 86_400))
}

/// The results of a file, scenario by scenario, as tables.
pub(crate) fn report(path: &Path, document: Option<&Path>) -> Result<()> {
    let results = Results::read(path).context("nothing to report")?;
    for scenario in scenario::all() {
        if let Some(found) = results.scenarios.iter().find(|known| known.id == scenario.id) {
            print!("{}", table::table(&scenario, found));
        }
    }
    document.map_or(Ok(()), |docs| document::write(docs, &results))
}
