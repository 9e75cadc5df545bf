//! The picture of `docs/benchmarks.md`: CPU time per request, a group of bars for each scenario.

use std::fmt::Write as _;

use crate::results::{Measured, Results};
use crate::scenario::{self, Figure, Kind, Scenario};
use crate::table::number;

/// Gateways in the order of the bars, and their colours.
const GATEWAYS: [(&str, &str); 7] = [
    ("relay", "#9a9a9a"),
    ("nginx", "#6fa8a0"),
    ("nginx-lua", "#3f7f78"),
    ("haproxy", "#5b7fb5"),
    ("envoy", "#9b7bb8"),
    ("envoy-cache", "#bda6d0"),
    ("ours", "#d9632e"),
];
const WIDTH: f64 = 860.0;
/// Where bars begin.
const LEFT: f64 = 300.0;
/// Room for a number after the longest bar.
const RIGHT: f64 = 70.0;
const BAR: f64 = 11.0;
const GAP: f64 = 12.0;
const TOP: f64 = 64.0;

/// The picture of some results.
pub(crate) fn picture(results: &Results) -> String {
    let mut body = String::new();
    let mut y = TOP;
    for scenario in scenario::all().iter().filter(|scenario| is_drawn(scenario)) {
        if let Some(found) = results.scenarios.iter().find(|known| known.id == scenario.id) {
            y += group(&mut body, y, scenario, found) + GAP;
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<style>\n\
         text {{ fill: #222 }} .small {{ fill: #555 }} .own {{ font-weight: bold }}\n\
         @media (prefers-color-scheme: dark) {{ text {{ fill: #eee }} .small {{ fill: #bbb }} }}\n\
         </style>\n{legend}{body}</svg>\n",
        height = y.ceil(),
        legend = legend(),
    )
}

/// Those with a CPU time per request that is not about size.
fn is_drawn(scenario: &Scenario) -> bool {
    let sized = scenario.entries.iter().any(|entry| entry.size.is_some());
    matches!(scenario.kind, Kind::Turns(_) | Kind::Once(_))
        && scenario.figure() == Figure::Cpu
        && !sized
}

fn legend() -> String {
    let mut text = "<text x=\"8\" y=\"20\" font-size=\"14\">CPU microseconds per request, median; \
                    each group has a scale of its own</text>\n"
        .to_owned();
    for (at, (name, colour)) in (0_u8..).zip(GATEWAYS) {
        let x = 8.0 + f64::from(at) * 105.0;
        // Writing to a String cannot fail.
        let _written = writeln!(
            text,
            "<rect x=\"{x}\" y=\"34\" width=\"11\" height=\"11\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"44\">{name}</text>",
            x + 16.0
        );
    }
    text
}

/// Draws the bars of a scenario, and gives their height.
fn group(body: &mut String, top: f64, scenario: &Scenario, found: &Measured) -> f64 {
    let bars: Vec<(&str, &str, f64)> = GATEWAYS
        .iter()
        .filter_map(|(name, colour)| {
            Some((*name, *colour, found.entry(name)?.spread(Figure::Cpu)?.median))
        })
        .collect();
    let most = bars.iter().map(|bar| bar.2).fold(1.0, f64::max);
    let _written = writeln!(
        body,
        "<text x=\"8\" y=\"{y}\" class=\"own\">{}</text>\
         <text x=\"48\" y=\"{y}\">{}</text>",
        scenario.id,
        scenario.what,
        y = top + 10.0
    );
    let mut y = top;
    for (name, colour, median) in bars {
        let width = (WIDTH - LEFT - RIGHT) * median / most;
        let class = if name == "ours" { "own" } else { "small" };
        let _written = writeln!(
            body,
            "<rect x=\"{LEFT}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{:.0}\" font-size=\"9\" class=\"{class}\">{}</text>",
            BAR - 1.0,
            LEFT + width + 4.0,
            y + 9.0,
            number(median),
        );
        y += BAR;
    }
    (y - top).max(2.0 * BAR)
}
