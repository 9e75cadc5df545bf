//! What a run found, as it is kept in a file: every round of every gateway, so that medians and
//! ratios can be computed again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::scenario::Figure;
use crate::stats::Spread;

/// The layout of the file.
const FORMAT: u32 = 1;
/// Cores that others may take, or the host may keep back, before a round counts as disturbed.
pub(crate) const QUIET: f64 = 0.15;
/// So many undisturbed rounds are enough to leave the others out.
const ENOUGH: usize = 3;

/// A file of results.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    format: u32,
    /// Processor and kernel.
    pub(crate) machine: String,
    /// What each program says of its version.
    pub(crate) versions: BTreeMap<String, String>,
    /// Scenarios in the order they were measured.
    pub(crate) scenarios: Vec<Measured>,
}

/// A scenario and what came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Its name.
    pub(crate) id: String,
    /// The day.
    pub(crate) date: String,
    /// Processor and kernel, if others than those of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) machine: Option<String>,
    /// Milliseconds of load per gateway and round.
    pub(crate) load_ms: u64,
    /// Gateways.
    pub(crate) entries: Vec<Entry>,
}

/// A gateway and its rounds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Its name.
    pub(crate) name: String,
    /// Round by round; those of one number belong together.
    pub(crate) rounds: Vec<Round>,
    /// When it had the machine to itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) windows: Vec<Window>,
}

/// The figures of a gateway in a round.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Round {
    /// By kind.
    pub(crate) figures: BTreeMap<Figure, f64>,
    /// Requests that were counted.
    pub(crate) requests: u64,
    /// Cores that others took and the host kept back.
    pub(crate) noise: f64,
}

/// A gateway under load without others beside it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Window {
    /// Requests per second.
    pub(crate) per_second: f64,
    /// Median of the latency.
    pub(crate) p50_us: f64,
    /// 99th percentile.
    pub(crate) p99_us: f64,
}

impl Results {
    /// None yet.
    pub(crate) fn new(machine: String) -> Self {
        let (versions, scenarios) = (BTreeMap::new(), Vec::new());
        Self { format: FORMAT, machine, versions, scenarios }
    }

    /// Those of a file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let results: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} holds no results of ours", path.display()))?;
        ensure!(
            results.format == FORMAT,
            "{}: results of format {}, this program reads {FORMAT}",
            path.display(),
            results.format
        );
        Ok(results)
    }

    /// Writes them to a file.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        // A line per scenario: then a difference between two files can be read.
        let lines = self.scenarios.iter().map(serde_json::to_string);
        let lines = lines.collect::<Result<Vec<_>, _>>()?.join(",\n");
        let Self { format, machine, versions, .. } = self;
        let (machine, versions) = (json!(machine), json!(versions));
        let text = format!(
            "{{\"format\":{format},\n\"machine\":{machine},\n\"versions\":{versions},\n\
             \"scenarios\":[\n{lines}\n]}}\n"
        );
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Puts in what others found. What stays of another machine says so: gateways are compared within a
    /// scenario, which is measured in one run.
    pub(crate) fn add(&mut self, others: &Self) {
        if self.machine != others.machine {
            let before = std::mem::replace(&mut self.machine, others.machine.clone());
            for known in &mut self.scenarios {
                known.machine.get_or_insert_with(|| before.clone());
                known.machine.take_if(|machine| *machine == self.machine);
            }
        }
        self.versions.extend(others.versions.clone());
        for measured in &others.scenarios {
            self.put(measured.clone());
        }
    }

    /// Puts a scenario in, in the place of an older one of that name.
    pub(crate) fn put(&mut self, measured: Measured) {
        match self.scenarios.iter_mut().find(|known| known.id == measured.id) {
            Some(known) => *known = measured,
            None => self.scenarios.push(measured),
        }
    }
}

impl Measured {
    /// A gateway by name.
    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// The ratio of two gateways, round by round: what disturbed a round disturbed both.
    pub(crate) fn ratio(&self, of: &str, to: &str, figure: Figure) -> Option<Spread> {
        let (of, to) = (self.entry(of)?, self.entry(to)?);
        let pairs: Vec<_> = of.rounds.iter().zip(&to.rounds).collect();
        let quiet = |pair: &&(&Round, &Round)| pair.0.noise <= QUIET && pair.1.noise <= QUIET;
        let undisturbed: Vec<_> = pairs.iter().filter(quiet).copied().collect();
        let pairs = if undisturbed.len() >= ENOUGH { undisturbed } else { pairs };
        let ratio = |(of, to): (&Round, &Round)| {
            Some(
                of.figures.get(&figure)?
                    / to.figures.get(&figure).filter(|figure| **figure > 0.0)?,
            )
        };
        Spread::of(pairs.into_iter().filter_map(ratio))
    }
}

impl Entry {
    /// The spread of a figure over the rounds; over undisturbed ones, if there are enough.
    pub(crate) fn spread(&self, figure: Figure) -> Option<Spread> {
        let quiet = self.rounds.iter().filter(|round| round.noise <= QUIET);
        let all = self.rounds.iter();
        let rounds: Vec<_> =
            if quiet.clone().count() >= ENOUGH { quiet.collect() } else { all.collect() };
        Spread::of(rounds.into_iter().filter_map(|round| round.figures.get(&figure).copied()))
    }

    /// How many rounds were disturbed.
    pub(crate) fn disturbed(&self) -> usize {
        self.rounds.iter().filter(|round| round.noise > QUIET).count()
    }

    /// The median of something of the windows.
    pub(crate) fn window(&self, of: impl Fn(&Window) -> f64) -> Option<f64> {
        Spread::of(self.windows.iter().map(of)).map(|spread| spread.median)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, rounds: &[(f64, f64)]) -> Entry {
        let round = |&(cpu, noise): &(f64, f64)| Round {
            figures: [(Figure::Cpu, cpu)].into(),
            requests: 1,
            noise,
        };
        Entry {
            name: name.to_owned(),
            rounds: rounds.iter().map(round).collect(),
            windows: Vec::new(),
        }
    }

    fn measured() -> Measured {
        let a = entry("a", &[(10.0, 0.0), (90.0, 0.9), (12.0, 0.0), (11.0, 0.1)]);
        let b = entry("b", &[(20.0, 0.0), (90.0, 0.9), (24.0, 0.0), (44.0, 0.1)]);
        Measured {
            id: "S1".to_owned(),
            date: String::new(),
            machine: None,
            load_ms: 1,
            entries: vec![a, b],
        }
    }

    #[test]
    fn disturbed_rounds_are_left_out_where_enough_remain() {
        let measured = measured();
        let spread = |at: usize| measured.entries[at].spread(Figure::Cpu).map(|s| s.median);
        assert_eq!((spread(0), spread(1)), (Some(11.0), Some(24.0)));
        assert_eq!(measured.entries[0].disturbed(), 1);
        let few = entry("c", &[(10.0, 0.0), (90.0, 0.9), (92.0, 0.9)]);
        assert_eq!(few.spread(Figure::Cpu).map(|s| s.median), Some(90.0));
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        let ratio = measured().ratio("a", "b", Figure::Cpu).expect("a ratio");
        assert_eq!(ratio, Spread { least: 0.25, median: 0.5, most: 0.5 });
        assert_eq!(measured().ratio("a", "c", Figure::Cpu), None);
        assert_eq!(measured().ratio("a", "b", Figure::Start), None);
    }

    #[test]
    fn what_was_not_measured_again_stays_and_says_where_it_was() {
        let named = |id: &str| Measured { id: id.to_owned(), ..measured() };
        let results = |machine: &str, ids: &[&str]| {
            let mut results = Results::new(machine.to_owned());
            for id in ids {
                results.put(named(id));
            }
            results
        };
        let machines = |results: &Results| {
            let scenarios = results.scenarios.iter();
            let each = scenarios.map(|known| (known.id.clone(), known.machine.clone()));
            (results.machine.clone(), each.collect::<Vec<_>>())
        };
        let row = |id: &str, machine: Option<&str>| (id.to_owned(), machine.map(str::to_owned));
        let mut all = results("a", &["S1", "S2"]);
        all.add(&results("a", &["S2"]));
        assert_eq!(machines(&all), ("a".to_owned(), vec![row("S1", None), row("S2", None)]));
        all.add(&results("b", &["S2"]));
        assert_eq!(machines(&all), ("b".to_owned(), vec![row("S1", Some("a")), row("S2", None)]));
        all.add(&results("a", &["S3"]));
        let expected = vec![row("S1", None), row("S2", Some("b")), row("S3", None)];
        assert_eq!(machines(&all), ("a".to_owned(), expected));
    }

    #[test]
    fn a_file_gives_back_what_was_put_in() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("results.json");
        let mut results = Results::new("a machine".to_owned());
        results.put(measured());
        results.put(measured());
        results.write(&path)?;
        let read = Results::read(&path)?;
        assert_eq!(read.scenarios.len(), 1);
        assert_eq!(read.scenarios[0].entries[0].rounds.len(), 4);
        fs::write(&path, r#"{"format":0,"machine":"","versions":{},"scenarios":[]}"#)?;
        assert!(Results::read(&path).is_err());
        Ok(())
    }
}
