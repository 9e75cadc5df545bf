//! What was found, against what is to be reached.

use crate::results::Measured;
use crate::scenario::{Bound, Goal, Scenario};
use crate::stats::Spread;
use crate::table::number;

/// A goal and what was found.
pub(crate) struct Verdict {
    /// The goal in words.
    pub(crate) goal: String,
    /// The ratio, or the figure, over the rounds.
    pub(crate) found: Spread,
    /// Whether the median is on the right side.
    pub(crate) held: bool,
}

/// The goals of a scenario whose gateways were all measured.
pub(crate) fn verdicts(scenario: &Scenario, measured: &Measured) -> Vec<Verdict> {
    scenario.goals.iter().filter_map(|goal| verdict(goal, measured)).collect()
}

fn verdict(goal: &Goal, measured: &Measured) -> Option<Verdict> {
    let (found, against) = match best(goal, measured) {
        Some(best) => (measured.ratio(goal.of, best, goal.figure)?, format!(" × {best}")),
        None if goal.against.is_empty() => {
            (measured.entry(goal.of)?.spread(goal.figure)?, String::new())
        }
        None => return None,
    };
    let (side, bound, held) = match goal.bound {
        Bound::Most(bound) => ("≤", bound, found.median <= bound),
        Bound::Least(bound) => ("≥", bound, found.median >= bound),
    };
    let goal = format!("{}, {}: {side} {}{against}", goal.of, goal.figure.what(), number(bound));
    Some(Verdict { goal, found, held })
}

/// Whom to compare with: the best of those that were measured.
fn best<'g>(goal: &'g Goal, measured: &Measured) -> Option<&'g str> {
    let figure = |name: &str| Some(measured.entry(name)?.spread(goal.figure)?.median);
    let known = goal.against.iter().filter_map(|&name| Some((name, figure(name)?)));
    let best = match goal.bound {
        Bound::Most(_) => known.min_by(|a, b| a.1.total_cmp(&b.1)),
        Bound::Least(_) => known.max_by(|a, b| a.1.total_cmp(&b.1)),
    };
    best.map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Entry, Round};
    use crate::scenario::Figure;

    fn measured(figures: &[(&str, f64)]) -> Measured {
        let entry = |&(name, figure): &(&str, f64)| Entry {
            name: name.to_owned(),
            rounds: vec![Round { figures: [(Figure::Cpu, figure)].into(), ..Round::default() }],
            windows: Vec::new(),
        };
        Measured {
            id: "S1".to_owned(),
            date: String::new(),
            machine: None,
            load_ms: 1,
            entries: figures.iter().map(entry).collect(),
        }
    }

    fn held(
        against: &'static [&'static str],
        bound: Bound,
        figures: &[(&str, f64)],
    ) -> Option<bool> {
        let goal = Goal { of: "ours", against, figure: Figure::Cpu, bound };
        verdict(&goal, &measured(figures)).map(|verdict| verdict.held)
    }

    #[test]
    fn the_best_of_several_counts() {
        let figures = [("ours", 10.0), ("a", 12.0), ("b", 8.0)];
        let both: &[&str] = &["a", "b"];
        assert_eq!(held(both, Bound::Most(1.0), &figures), Some(false));
        assert_eq!(held(both, Bound::Most(1.3), &figures), Some(true));
        assert_eq!(held(both, Bound::Least(0.8), &figures), Some(true));
        assert_eq!(held(both, Bound::Least(0.9), &figures), Some(false));
        assert_eq!(held(&[], Bound::Most(10.0), &figures), Some(true));
        assert_eq!(held(&[], Bound::Most(9.0), &figures), Some(false));
    }

    #[test]
    fn without_the_others_there_is_no_verdict() {
        assert_eq!(held(&["a"], Bound::Most(1.0), &[("ours", 10.0)]), None);
        assert_eq!(held(&["a"], Bound::Most(1.0), &[("a", 10.0)]), None);
    }
}
