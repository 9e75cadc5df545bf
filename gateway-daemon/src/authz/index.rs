//! Rules by what they can match at all, so that a decision looks at few of many.
//!
//! Each operation is entered under every value of one of its fields, `paths` or `hosts`: the one
//! that fewer operations share. A request then meets the operations under its path, under every
//! prefix and suffix of it, the same for its host, and those that name neither.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::attribute::Facts;
use super::rule::{Anchor, Rule};
use crate::model::lookup::Lookup;
use crate::model::path::CountedPath;
use crate::model::policy::{self as model, Operation, Pattern};
use crate::model::trie::Trie;

/// Rules of one kind of policy.
#[derive(Default)]
pub(super) struct RuleIndex {
    rules: Vec<Rule>,
    paths: PatternIndex,
    hosts: PatternIndex,
    /// What names neither paths nor hosts.
    rest: Vec<Clause>,
}

/// Clauses by pattern, each list in the order of rules.
#[derive(Default)]
struct PatternIndex {
    exact: Lookup<Box<[u8]>, Vec<Clause>>,
    prefix: Trie<Vec<Clause>>,
    suffix: Trie<Vec<Clause>>,
}

/// An operation of a rule; none where the rule has none.
#[derive(Clone, Copy, Debug)]
struct Clause {
    rule: usize,
    operation: Option<usize>,
    anchor: Anchor,
}

/// A value that an operation can be entered under.
#[derive(Clone, Eq, Hash, PartialEq)]
enum Value {
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Suffix(Box<[u8]>),
}

/// The values of a field, and whether a match of one is a match of the field.
struct Field {
    values: Vec<Value>,
    complete: bool,
}

impl RuleIndex {
    /// Compiles rules, in order, each with its model.
    pub(super) fn compile(rules: Vec<(&model::Rule, Rule)>) -> Self {
        let mut index = Self::default();
        let operations = rules.iter().flat_map(|(model, _)| &model.to);
        let crowd = Crowd::count(operations);
        for (model, rule) in rules {
            let at = index.rules.len();
            if model.to.is_empty() {
                let clause = Clause { rule: at, operation: None, anchor: Anchor::Nothing };
                index.rest.push(clause);
            }
            for (position, operation) in model.to.iter().enumerate() {
                index.enter(operation, &crowd, at, position);
            }
            index.rules.push(rule);
        }
        index
    }

    fn enter(&mut self, operation: &Operation, crowd: &Crowd, rule: usize, position: usize) {
        let clause = |anchor| Clause { rule, operation: Some(position), anchor };
        let (paths, hosts) = (path_field(operation), host_field(operation));
        let path_crowd = paths.as_ref().map(|field| crowd.paths.of(field));
        let host_crowd = hosts.as_ref().map(|field| crowd.hosts.of(field));
        let by_host = match (path_crowd, host_crowd) {
            (Some(paths), Some(hosts)) => hosts < paths,
            (None, hosts) => hosts.is_some(),
            (Some(_), None) => false,
        };
        match (by_host, paths, hosts) {
            (true, _, Some(field)) => self.hosts.add(field, clause(Anchor::Hosts)),
            (false, Some(field), _) => {
                let anchor = if field.complete { Anchor::Paths } else { Anchor::Nothing };
                self.paths.add(field, clause(anchor));
            }
            _ => self.rest.push(clause(Anchor::Nothing)),
        }
    }

    /// Every rule, in order.
    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether there are no rules.
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The first rule that matches.
    pub(super) fn first_match(&self, facts: &Facts<'_>) -> Option<&Rule> {
        self.first_where(facts, |rule| rule.admits(facts))
    }

    /// The first rule with an operation that matches and of which `admits` holds.
    pub(super) fn first_where(
        &self,
        facts: &Facts<'_>,
        admits: impl Fn(&Rule) -> bool,
    ) -> Option<&Rule> {
        let mut first: Option<usize> = None;
        self.candidates(facts, |clauses| {
            for clause in clauses {
                if first.is_some_and(|found| found <= clause.rule) {
                    break;
                }
                if self.operation_matches(clause, facts) && admits(&self.rules[clause.rule]) {
                    first = Some(clause.rule);
                }
            }
        });
        first.map(|rule| &self.rules[rule])
    }

    /// Every rule that matches with its position, in order.
    pub(super) fn all_matches(&self, facts: &Facts<'_>) -> impl Iterator<Item = (usize, &Rule)> {
        let mut found = Vec::new();
        self.candidates(facts, |clauses| {
            let matching = clauses.iter().filter(|clause| {
                self.operation_matches(clause, facts) && self.rules[clause.rule].admits(facts)
            });
            found.extend(matching.map(|clause| clause.rule));
        });
        found.sort_unstable();
        found.dedup();
        found.into_iter().map(|rule| (rule, &self.rules[rule]))
    }

    fn operation_matches(&self, clause: &Clause, facts: &Facts<'_>) -> bool {
        let rule = &self.rules[clause.rule];
        let operation = clause.operation.map(|position| &rule.operations[position]);
        operation.is_none_or(|operation| operation.matches(facts, clause.anchor))
    }

    fn candidates(&self, facts: &Facts<'_>, mut look: impl FnMut(&[Clause])) {
        self.paths.candidates(facts.view.path().as_bytes(), &mut look);
        self.hosts.candidates(facts.view.authority_lowercase().as_bytes(), &mut look);
        look(&self.rest);
    }
}

impl PatternIndex {
    fn add(&mut self, field: Field, clause: Clause) {
        for value in field.values {
            let clauses = match value {
                Value::Exact(text) => self.exact.entry(text).or_default(),
                Value::Prefix(text) => self.prefix.entry_with(text, Vec::new),
                Value::Suffix(text) => self.suffix.entry_with(text.into_iter().rev(), Vec::new),
            };
            clauses.push(clause);
        }
    }

    fn candidates(&self, text: &[u8], look: &mut impl FnMut(&[Clause])) {
        if let Some(clauses) = self.exact.get(text) {
            look(clauses);
        }
        self.prefix.prefixes_of(text, |_, clauses| look(clauses));
        self.suffix.suffixes_of(text, |_, clauses| look(clauses));
    }
}

/// The values of `paths`; none if it has none.
fn path_field(operation: &Operation) -> Option<Field> {
    let mut complete = true;
    let mut value = |path: CountedPath| match path {
        CountedPath::Exact(path) => Value::Exact(path.as_bytes().into()),
        CountedPath::TextPrefix(path) => Value::Prefix(path.as_bytes().into()),
        CountedPath::Suffix(path) => Value::Suffix(path.as_bytes().into()),
        CountedPath::Elements(path) => {
            complete &= path.is_empty();
            Value::Prefix(path.as_bytes().into())
        }
        CountedPath::Template(template) => {
            complete = false;
            Value::Prefix(template.literal_prefix().as_bytes().into())
        }
    };
    let patterns = &operation.paths.values;
    let values: Vec<_> = patterns.iter().map(CountedPath::from).map(&mut value).collect();
    (!values.is_empty()).then_some(Field { values, complete })
}

/// The values of `hosts`, in lower case; none if it has none.
fn host_field(operation: &Operation) -> Option<Field> {
    let lower = |text: &str| text.to_ascii_lowercase().into_bytes().into_boxed_slice();
    let value = |pattern: &Pattern| match pattern {
        Pattern::Exact(text) => Value::Exact(lower(text)),
        Pattern::Prefix(text) => Value::Prefix(lower(text)),
        Pattern::Suffix(text) => Value::Suffix(lower(text)),
        Pattern::Present => Value::Prefix(Box::default()),
    };
    let values: Vec<_> = operation.hosts.values.iter().map(value).collect();
    (!values.is_empty()).then_some(Field { values, complete: true })
}

/// How many operations share each value.
struct Crowd {
    paths: Counts,
    hosts: Counts,
}

#[derive(Default)]
struct Counts(HashMap<Value, usize>);

impl Crowd {
    fn count<'o>(operations: impl Iterator<Item = &'o Operation>) -> Self {
        let mut crowd = Self { paths: Counts::default(), hosts: Counts::default() };
        for operation in operations {
            crowd.paths.add(path_field(operation));
            crowd.hosts.add(host_field(operation));
        }
        crowd
    }
}

impl Counts {
    fn add(&mut self, field: Option<Field>) {
        for value in field.into_iter().flat_map(|field| field.values) {
            match self.0.entry(value) {
                Entry::Occupied(mut count) => *count.get_mut() += 1,
                Entry::Vacant(count) => drop(count.insert(1)),
            }
        }
    }

    /// The most that any value of a field is shared.
    fn of(&self, field: &Field) -> usize {
        field.values.iter().filter_map(|value| self.0.get(value)).copied().max().unwrap_or(0)
    }
}
