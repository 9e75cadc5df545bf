//! Two runs side by side. Only ratios within a run count, so what is compared is what this project
//! took against each other gateway, then and now.

use std::path::Path;

use anyhow::Result;

use crate::results::{Measured, Results};
use crate::scenario;
use crate::table::{aligned, number};

/// Differences below this say nothing: the same program against itself shows them too.
const NOISE: f64 = 0.07;

/// Prints the comparison of two files.
pub(crate) fn compare(before: &Path, after: &Path) -> Result<()> {
    let (before, after) = (Results::read(before)?, Results::read(after)?);
    let words = ["scenario", "against", "before", "after", "change", ""];
    let mut rows = vec![words.map(str::to_owned).to_vec()];
    for scenario in scenario::all() {
        let find = |results: &Results| -> Option<Measured> {
            results.scenarios.iter().find(|known| known.id == scenario.id).cloned()
        };
        let Some((before, after)) = find(&before).zip(find(&after)) else { continue };
        for entry in before.entries.iter().filter(|entry| entry.name != "ours") {
            let ratio =
                |of: &Measured| Some(of.ratio("ours", &entry.name, scenario.figure())?.median);
            let Some((then, now)) = ratio(&before).zip(ratio(&after)) else { continue };
            let change = now / then - 1.0;
            let word = if change.abs() < NOISE { "noise" } else { "" };
            let percent = format!("{:+.1} %", change * 100.0);
            let cells = [scenario.id, &entry.name, &number(then), &number(now), &percent, word];
            rows.push(cells.map(str::to_owned).to_vec());
        }
    }
    print!("{}", aligned(&rows));
    Ok(())
}
