//! What a person sees of a scenario on the terminal.

use std::fmt::Write as _;

use crate::results::{Entry, Measured};
use crate::scenario::{Figure, Scenario};
use crate::stats::Spread;
use crate::verdict::verdicts;

/// A number with three digits that mean something.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 1e6 && value.fract() == 0.0 && size >= 10.0 => thousands(value),
        size if size < 9.995 => format!("{value:.2}"),
        size if size < 99.95 => format!("{value:.1}"),
        _ => thousands(value),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Median, least and most.
pub(crate) fn spread(spread: Spread) -> String {
    let Spread { median, least, most } = spread;
    format!("{} [{}–{}]", number(median), number(least), number(most))
}

impl Figure {
    /// What it says, with its unit.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Cpu => "CPU µs per request",
            Self::Volume => "GB per CPU second",
            Self::AllCpu => "CPU µs per request, with load and upstream",
            Self::PerConnection => "KiB per idle connection",
            Self::GivenBack => "memory after all closed, × idle",
            Self::Idle => "MiB idle",
            Self::Start => "ms to the first answer",
            Self::Lost => "requests lost",
            Self::ReloadTail => "p99 during reload, × without",
            Self::ReloadTime => "ms per reload",
        }
    }
}

/// The table of a scenario.
pub(crate) fn table(scenario: &Scenario, measured: &Measured) -> String {
    let main = scenario.figure();
    let hidden = scenario.minor();
    let mut text = format!("\n{}  {}\n", scenario.id, scenario.what);
    let mut rows = vec![head(main)];
    rows.extend(measured.entries.iter().map(|entry| row(entry, measured, main)));
    text += &aligned(&without_empty_columns(&rows));
    for entry in &measured.entries {
        text += &others(entry, main, hidden);
    }
    for verdict in verdicts(scenario, measured) {
        let word = if verdict.held { "held" } else { "MISSED" };
        text +=
            &["  ", word, ": ", &verdict.goal, "; found ", &spread(verdict.found), "\n"].concat();
    }
    text
}

fn head(main: Figure) -> Vec<String> {
    ["gateway", main.what(), "ours ÷ it", "req/s", "p50 ms", "p99 ms", "disturbed"]
        .map(str::to_owned)
        .to_vec()
}

fn row(entry: &Entry, measured: &Measured, main: Figure) -> Vec<String> {
    let some = |value: Option<f64>| value.map(number).unwrap_or_default();
    let against = measured.ratio("ours", &entry.name, main);
    let ratio = if entry.name == "ours" { None } else { against.map(spread) };
    vec![
        entry.name.clone(),
        entry.spread(main).map(spread).unwrap_or_default(),
        ratio.unwrap_or_default(),
        some(entry.window(|window| window.per_second)),
        some(entry.window(|window| window.p50_us / 1e3)),
        some(entry.window(|window| window.p99_us / 1e3)),
        format!("{}/{}", entry.disturbed(), entry.rounds.len()),
    ]
}

/// The other figures of a gateway, in a line.
fn others(entry: &Entry, main: Figure, hidden: Option<Figure>) -> String {
    let first = entry.rounds.first().map(|round| round.figures.keys().copied());
    let kinds: Vec<Figure> =
        first.into_iter().flatten().filter(|kind| *kind != main && Some(*kind) != hidden).collect();
    let figures = kinds
        .iter()
        .filter_map(|&kind| Some(format!("{} {}", kind.what(), spread(entry.spread(kind)?))));
    let line = figures.collect::<Vec<_>>().join("; ");
    if line.is_empty() { line } else { format!("  {}: {line}\n", entry.name) }
}

/// The columns in which something stands below the head.
fn without_empty_columns(rows: &[Vec<String>]) -> Vec<Vec<String>> {
    let columns = rows.first().map(Vec::len).unwrap_or_default();
    let used: Vec<usize> = (0..columns)
        .filter(|&at| rows.iter().skip(1).any(|row| row.get(at).is_some_and(|c| !c.is_empty())))
        .collect();
    rows.iter().map(|row| used.iter().filter_map(|&at| row.get(at).cloned()).collect()).collect()
}

/// Cells under one another; the first column to the left, others to the right.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            // Writing to a String cannot fail.
            let _written = match at {
                0 => write!(line, "  {cell:<0$}", widths[at]),
                _ => write!(line, "  {cell:>0$}", widths[at]),
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let rows = [
            (0.0, "0"),
            (0.123_4, "0.12"),
            (9.99, "9.99"),
            (12.34, "12.3"),
            (99.96, "100"),
            (1_234.5, "1,234"),
            (12_345_678.0, "12,345,678"),
        ];
        for (value, expected) in rows {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn a_column_with_nothing_but_a_head_is_left_out() {
        let rows = [["a", "b", "c"], ["1", "", "2"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(aligned(&without_empty_columns(&rows)), "  a  c\n  1  2\n");
    }

    #[test]
    fn columns_stand_under_one_another() {
        let rows = [["a", "1"], ["bcd", "µ22"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(aligned(&rows), "  a      1\n  bcd  µ22\n");
    }
}
