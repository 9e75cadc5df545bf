//! AUDIT policies and policies in dry run: they never decide. What they would have said is told,
//! and counted for each of them.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use super::attribute::Facts;
use super::decision::ShadowMatch;
use super::index::RuleIndex;
use crate::model::object::ObjectRef;
use crate::model::policy::{Action, Policy};

/// The policies of one Gateway that never decide.
pub(super) struct Shadow {
    pub(super) index: RuleIndex,
    /// The policy of each rule, as its position in the tally.
    policies: Vec<usize>,
    tally: Arc<ShadowTally>,
}

impl Shadow {
    /// Compiles policies.
    pub(super) fn compile(policies: &[&Policy]) -> Self {
        let of_rules = policies.iter().enumerate();
        let row = |policy: &&Policy| Row {
            policy: policy.object.clone(),
            action: policy.action,
            matched: AtomicU64::new(0),
        };
        let rows = policies.iter().map(row).collect();
        Self {
            index: super::index(policies.iter().copied()),
            policies: of_rules.flat_map(|(at, p)| p.rules.iter().map(move |_| at)).collect(),
            tally: Arc::new(ShadowTally { asked: AtomicU64::new(0), rows }),
        }
    }

    /// One match per policy that would have matched, in order.
    pub(super) fn matches(&self, facts: &Facts<'_>) -> Vec<ShadowMatch> {
        let mut found: Vec<ShadowMatch> = Vec::new();
        if self.index.is_empty() {
            return found;
        }
        for (position, rule) in self.index.all_matches(facts) {
            let row = self.policies[position];
            if found.last().is_none_or(|last| last.row != row) {
                let matched = Arc::clone(&rule.name);
                found.push(ShadowMatch { matched, action: rule.action, row });
            }
        }
        found
    }

    /// Counts a request that the policies were asked about.
    pub(super) fn count(&self, matches: &[ShadowMatch]) {
        if self.tally.rows.is_empty() {
            return;
        }
        self.tally.asked.fetch_add(1, Relaxed);
        for row in matches.iter().filter_map(|found| self.tally.rows.get(found.row)) {
            row.matched.fetch_add(1, Relaxed);
        }
    }

    /// The counts; none where there are no such policies.
    pub(super) fn tally(&self) -> Option<Arc<ShadowTally>> {
        (!self.tally.rows.is_empty()).then(|| Arc::clone(&self.tally))
    }
}

/// What the policies of one compiled engine would have said so far. All workers write here; only
/// what matched is counted by policy, so that the cost does not grow with their number.
#[derive(Debug)]
pub struct ShadowTally {
    /// Requests that the policies were asked about.
    asked: AtomicU64,
    rows: Vec<Row>,
}

/// A policy, and requests that it matched.
#[derive(Debug)]
struct Row {
    policy: ObjectRef,
    action: Action,
    matched: AtomicU64,
}

/// What one policy would have said, since it is there with this action.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ShadowTotals {
    /// The policy.
    pub policy: ObjectRef,
    /// Its action.
    pub action: Action,
    /// Requests that some rule of it matched.
    pub matched: u64,
    /// Requests that none matched.
    pub unmatched: u64,
}

/// The tallies of every engine in force and of those before: counts go on over reloads for as long
/// as a policy is configured. For the control thread and observers; the data path has its tally.
#[derive(Debug, Default)]
pub struct ShadowLedger(Mutex<Tallies>);

#[derive(Debug, Default)]
struct Tallies {
    current: Vec<Arc<ShadowTally>>,
    /// Replaced, and maybe still written for requests under way.
    replaced: Vec<Arc<ShadowTally>>,
    /// Sums of those that nobody writes any more.
    past: Sums,
}

/// Totals by policy and action.
type Sums = BTreeMap<(ObjectRef, &'static str), ShadowTotals>;

impl ShadowLedger {
    /// Takes the tallies of a new snapshot's engines in place of the last ones.
    pub fn follow(&self, current: Vec<Arc<ShadowTally>>) {
        let mut tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = std::mem::replace(&mut tallies.current, current);
        last.retain(|old| !tallies.current.iter().any(|new| Arc::ptr_eq(old, new)));
        let replaced = std::mem::take(&mut tallies.replaced);
        for tally in replaced.into_iter().chain(last) {
            match Arc::try_unwrap(tally) {
                Ok(done) => add(&mut tallies.past, &done),
                Err(used) => tallies.replaced.push(used),
            }
        }
        let mut configured = Sums::new();
        tallies.current.iter().for_each(|tally| add(&mut configured, tally));
        tallies.past.retain(|key, _| configured.contains_key(key));
    }

    /// Every policy in force that never decides, in order of names.
    pub fn totals(&self) -> Vec<ShadowTotals> {
        let tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sums = Sums::new();
        tallies.current.iter().for_each(|tally| add(&mut sums, tally));
        let mut before = tallies.past.clone();
        tallies.replaced.iter().for_each(|tally| add(&mut before, tally));
        for (key, totals) in &mut sums {
            if let Some(before) = before.get(key) {
                totals.matched += before.matched;
                totals.unmatched += before.unmatched;
            }
        }
        sums.into_values().collect()
    }
}

fn add(sums: &mut Sums, tally: &ShadowTally) {
    for Row { policy, action, matched } in &tally.rows {
        let matched = matched.load(Relaxed);
        // The two may be of different instants.
        let asked = tally.asked.load(Relaxed).max(matched);
        let key = (policy.clone(), action.word());
        let new =
            || ShadowTotals { policy: policy.clone(), action: *action, matched: 0, unmatched: 0 };
        let totals = sums.entry(key).or_insert_with(new);
        totals.matched += matched;
        totals.unmatched += asked - matched;
    }
}
