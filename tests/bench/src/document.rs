//! The figures in `docs/`: the tables of `benchmarks.md`, the picture beside it, and the results they
//! are made of, so that a test can make them again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::picture;
use crate::results::{Entry, Measured, Results};
use crate::scenario::{self, Figure, Kind, Scenario};
use crate::stats::real;
use crate::table::{number, spread};
use crate::verdict::verdicts;

const DOCUMENT: &str = "benchmarks.md";
const PICTURE: &str = "benchmarks.svg";
const RESULTS: &str = "benchmarks.json";
const BEGIN: &str = "<!-- figures: written by `cargo xtask bench --document` -->\n";
const PROFILES: &str = "performance.md";
const PROFILES_BEGIN: &str =
    "<!-- figures: written by `cargo xtask bench profile S1 S2 S7 S9 --document` -->\n";
const MICRO_BEGIN: &str = "<!-- figures: written by `cargo xtask bench micro --document` -->\n";
const END: &str = "<!-- end of figures -->\n";
/// Gateways in the order of the columns.
const COLUMNS: [&str; 9] = [
    "relay",
    "nginx",
    "nginx-lua",
    "haproxy",
    "envoy",
    "envoy-cache",
    "ours",
    "ours-log",
    "ours-ebpf",
];

/// Writes figures, picture and results into the folder of the documents. Scenarios that are there and
/// not among the results stay.
pub(crate) fn write(docs: &Path, results: &Results) -> Result<()> {
    let mut merged = Results::read(&docs.join(RESULTS)).unwrap_or_else(|_| results.clone());
    merged.add(results);
    put_down(docs, &merged)
}

fn put_down(docs: &Path, results: &Results) -> Result<()> {
    let path = docs.join(DOCUMENT);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let put = |name: &str, text: &str| {
        let path = docs.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    put(DOCUMENT, &replaced(&text, BEGIN, &figures(results))?)?;
    put(PICTURE, &picture::picture(results))?;
    results.write(&docs.join(RESULTS))
}

/// Writes the table of profiles into its document.
pub(crate) fn write_profiles(docs: &Path, table: &str) -> Result<()> {
    write_between(docs, PROFILES_BEGIN, table)
}

/// Writes the tables of the micro benchmarks into the same.
pub(crate) fn write_micro(docs: &Path, tables: &str) -> Result<()> {
    write_between(docs, MICRO_BEGIN, tables)
}

fn write_between(docs: &Path, begin: &str, figures: &str) -> Result<()> {
    let path = docs.join(PROFILES);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let text = replaced(&text, begin, figures)?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The document with other figures after the line at which they begin.
fn replaced(document: &str, begin: &str, figures: &str) -> Result<String> {
    let parts = document
        .split_once(begin)
        .and_then(|(before, rest)| rest.split_once(END).map(|(_, after)| (before, after)));
    let (before, after) = parts.with_context(|| format!("no place for figures: no `{begin}`"))?;
    Ok(format!("{before}{begin}{figures}{END}{after}"))
}

/// A scenario and what came of it.
type Pair<'r> = (Scenario, &'r Measured);

/// All sections.
fn figures(results: &Results) -> String {
    let all: Vec<Pair<'_>> = scenario::all()
        .into_iter()
        .filter_map(|scenario| {
            let found = results.scenarios.iter().find(|known| known.id == scenario.id)?;
            Some((scenario, found))
        })
        .collect();
    let (sized, plain): (Vec<_>, Vec<_>) =
        all.iter().partition(|(scenario, _)| scenario.entries.iter().any(|e| e.size.is_some()));
    let cpu = |(scenario, _): &&&Pair<'_>| matches!(scenario.kind, Kind::Turns(_) | Kind::Once(_));
    let (requests, others): (Vec<_>, Vec<_>) = plain.iter().partition(cpu);
    [
        provenance(results),
        section("CPU microseconds per request", &cpu_table(&requests)),
        section("Against the goals", &goals(&all)),
        section("Requests per second, and latency", &speeds(&requests)),
        section("From one to 10,000", &sizes(&sized)),
        section("Volume, memory, start, reload, kernel half", &other_table(&requests, &others)),
    ]
    .concat()
}

fn section(title: &str, table: &str) -> String {
    if table.is_empty() { String::new() } else { format!("\n### {title}\n\n{table}") }
}

fn provenance(results: &Results) -> String {
    let days: BTreeSet<&str> = results.scenarios.iter().map(|known| known.date.as_str()).collect();
    let days: Vec<_> = days.into_iter().collect();
    let versions = results.versions.iter().map(|(name, version)| format!("{name} {version}"));
    let rounds = results.scenarios.iter().flat_map(|known| &known.entries);
    let rounds = rounds.map(|entry| entry.rounds.len()).max().unwrap_or_default();
    let text = format!(
        "\nMeasured on {}: {}. {}. Up to {rounds} rounds.\n",
        days.join(", "),
        results.machine,
        versions.collect::<Vec<_>>().join(", ")
    );
    let mut elsewhere: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for known in &results.scenarios {
        if let Some(machine) = &known.machine {
            elsewhere.entry(machine).or_default().push(&known.id);
        }
    }
    let line = |(machine, ids): (&str, Vec<&str>)| {
        format!("On another machine, {machine}: {}.\n", ids.join(", "))
    };
    let elsewhere: Vec<_> = elsewhere.into_iter().map(line).collect();
    text + &elsewhere.concat()
}

/// A table in Markdown, its first column to the left.
pub(crate) fn markdown(head: &str, columns: &[String], rows: &[(String, Vec<String>)]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let line = |first: &str, cells: &[String]| format!("| {first} | {} |\n", cells.join(" | "));
    let mut text = line(head, columns) + "|---|" + &"---:|".repeat(columns.len()) + "\n";
    for (label, cells) in rows {
        text += &line(label, cells);
    }
    text
}

/// A table of scenarios by gateways.
fn by_gateway(rows: &[(String, BTreeMap<String, String>)], head: &str) -> String {
    let is_used = |name: &&str| rows.iter().any(|(_, row)| row.contains_key(*name));
    let used: Vec<String> = COLUMNS.into_iter().filter(is_used).map(str::to_owned).collect();
    let row = |(label, cells): &(String, BTreeMap<String, String>)| {
        let cells = used.iter().map(|name| cells.get(name).cloned().unwrap_or_default());
        (label.clone(), cells.collect())
    };
    markdown(head, &used, &rows.iter().map(row).collect::<Vec<_>>())
}

fn cells(found: &Measured, cell: impl Fn(&Entry) -> Option<String>) -> BTreeMap<String, String> {
    let entries = found.entries.iter();
    entries.filter_map(|entry| Some((entry.name.clone(), cell(entry)?))).collect()
}

fn label(scenario: &Scenario) -> String {
    format!("**{}** {}", scenario.id, scenario.what)
}

fn cpu_table(pairs: &[&&Pair<'_>]) -> String {
    let row = |(scenario, found): &Pair<'_>| {
        (label(scenario), cells(found, |entry| entry.spread(Figure::Cpu).map(spread)))
    };
    by_gateway(&pairs.iter().map(|pair| row(pair)).collect::<Vec<_>>(), "")
}

fn goals(pairs: &[Pair<'_>]) -> String {
    let rows = pairs.iter().flat_map(|(scenario, found)| {
        verdicts(scenario, found).into_iter().map(|verdict| {
            let word = if verdict.held { "held" } else { "**missed**" };
            let label = format!("**{}** {}", scenario.id, verdict.goal);
            (label, [spread(verdict.found), word.to_owned()].to_vec())
        })
    });
    let columns = ["found", ""].map(str::to_owned);
    markdown("Goal", &columns, &rows.collect::<Vec<_>>())
}

fn speeds(pairs: &[&&Pair<'_>]) -> String {
    let cell = |entry: &Entry| {
        let per_second = entry.window(|window| window.per_second)?;
        let p50 = entry.window(|window| window.p50_us / 1e3)?;
        let p99 = entry.window(|window| window.p99_us / 1e3)?;
        Some(format!("{}; {} / {}", number(per_second), number(p50), number(p99)))
    };
    let row = |(scenario, found): &Pair<'_>| (scenario.id.to_owned(), cells(found, cell));
    let rows: Vec<_> = pairs.iter().map(|pair| row(pair)).collect();
    let rows: Vec<_> = rows.into_iter().filter(|(_, cells)| !cells.is_empty()).collect();
    by_gateway(&rows, "req/s; p50 / p99 ms")
}

/// Sizes as columns.
fn sizes(pairs: &[&Pair<'_>]) -> String {
    let size_of = |entry: &Entry| {
        let (name, size) = entry.name.split_once(" @")?;
        Some((name.to_owned(), size.parse::<usize>().ok()?))
    };
    let mut rows: Vec<(String, BTreeMap<usize, String>)> = Vec::new();
    for (scenario, found) in pairs {
        let mut by_name: BTreeMap<String, BTreeMap<usize, String>> = BTreeMap::new();
        for entry in &found.entries {
            let Some((name, size)) = size_of(entry) else { continue };
            let cell = entry.spread(Figure::Cpu).map(spread).unwrap_or_default();
            by_name.entry(name).or_default().insert(size, cell);
        }
        let label = |name| format!("{}, {name}", label(scenario));
        rows.extend(by_name.into_iter().map(|(name, cells)| (label(name), cells)));
    }
    let columns: BTreeSet<usize> =
        rows.iter().flat_map(|(_, cells)| cells.keys().copied()).collect();
    let row = |(label, cells): (String, BTreeMap<usize, String>)| {
        let cells = columns.iter().map(|size| cells.get(size).cloned().unwrap_or_default());
        (label, cells.collect())
    };
    let names: Vec<String> = columns.iter().map(|&size| number(real(size as u64))).collect();
    markdown("CPU µs per request", &names, &rows.into_iter().map(row).collect::<Vec<_>>())
}

/// Every other figure, a row each.
fn other_table(requests: &[&&Pair<'_>], others: &[&&Pair<'_>]) -> String {
    let mut rows = Vec::new();
    for (scenario, found) in requests.iter().chain(others).map(|pair| &***pair) {
        let kinds = found.entries.iter().flat_map(|entry| &entry.rounds);
        let kinds: BTreeSet<Figure> =
            kinds.flat_map(|round| round.figures.keys().copied()).collect();
        let is_request = requests.iter().any(|(known, _)| known.id == scenario.id);
        for kind in kinds {
            if Some(kind) == scenario.minor() || (is_request && kind == Figure::Cpu) {
                continue;
            }
            let row = cells(found, |entry| entry.spread(kind).map(spread));
            rows.push((format!("{}: {}", label(scenario), kind.what()), row));
        }
    }
    by_gateway(&rows, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn docs() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
    }

    #[test]
    fn the_document_shows_its_results() -> Result<()> {
        let results = Results::read(&docs().join(RESULTS))?;
        let read = |name: &str| fs::read_to_string(docs().join(name));
        let document = read(DOCUMENT)?;
        let hint = "run `cargo xtask bench --report docs/benchmarks.json --document`";
        assert!(replaced(&document, BEGIN, &figures(&results))? == document, "{DOCUMENT}: {hint}");
        assert!(picture::picture(&results) == read(PICTURE)?, "{PICTURE}: {hint}");
        Ok(())
    }

    #[test]
    fn every_scenario_is_explained() -> Result<()> {
        let document = fs::read_to_string(docs().join(DOCUMENT))?;
        let (before, _) = document.split_once(BEGIN).context("no figures")?;
        for scenario in scenario::all() {
            let row = format!("| {} |", scenario.id);
            assert!(before.contains(&row), "{DOCUMENT} does not explain {}", scenario.id);
        }
        Ok(())
    }

    #[test]
    fn figures_are_put_in_their_place() {
        let document = format!("a\n{BEGIN}old\n{END}b\n");
        let new = replaced(&document, BEGIN, "new\n").expect("a place");
        assert_eq!(new, format!("a\n{BEGIN}new\n{END}b\n"));
        assert!(replaced("a", BEGIN, "new").is_err());
    }
}
