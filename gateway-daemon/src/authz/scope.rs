//! Denials that are about a scope and nothing else (RFC 6750 3.1): what a token lacks that is good
//! otherwise.

use std::sync::Arc;

use super::Engine;
use super::attribute::Facts;
use super::decision::Denial;
use super::rule::Rule;
use crate::model::identity::Identity;
use crate::model::policy::{self as model, Attribute, ConditionValues, Pattern};
use crate::model::reason::Reason;
use crate::request::{ConnMeta, RequestView};

/// Claims that hold scopes: that of RFC 8693, and the name that some issuers have for it.
const CLAIMS: [&str; 2] = ["scope", "scp"];

/// The scopes that would have sufficed. None is named where a rule asks by patterns alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MissingScope(pub Vec<Arc<str>>);

/// A condition about scopes.
pub(super) struct ScopeCondition {
    /// Position among the rule's conditions.
    at: usize,
    /// Whether it holds while the scope is missing (`notValues`).
    excludes: bool,
    /// One that would do.
    scope: Option<Arc<str>>,
}

impl ScopeCondition {
    /// The conditions of a rule that are about scopes.
    pub(super) fn of(rule: &model::Rule) -> Vec<Self> {
        let conditions = rule.when.iter().enumerate();
        conditions.filter_map(|(at, condition)| Self::read(at, condition)).collect()
    }

    fn read(at: usize, condition: &model::Condition) -> Option<Self> {
        let (Attribute::Claim(path), ConditionValues::Text(texts)) =
            (&condition.attribute, &condition.values)
        else {
            return None;
        };
        let [name] = path.as_slice() else { return None };
        let excludes = texts.values.is_empty();
        let patterns = if excludes { &texts.not_values } else { &texts.values };
        let named = |pattern: &Pattern| match pattern {
            Pattern::Exact(text) if is_scope(text) => Some(Arc::clone(text)),
            _ => None,
        };
        let scope = patterns.iter().find_map(named);
        CLAIMS.contains(&&**name).then_some(Self { at, excludes, scope })
    }
}

/// A scope as a challenge can name it (RFC 6749 3.3).
fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'))
}

impl Engine {
    /// What a denied request's token lacks, if a scope is all that it lacks: a DENY rule that excludes
    /// tokens without it, or an ALLOW rule that asks for nothing else.
    pub fn missing_scope(
        &self,
        denial: &Denial,
        view: &RequestView,
        conn: &ConnMeta,
        identity: &Identity,
    ) -> Option<MissingScope> {
        let facts = Facts { view, conn, identity: Some(identity) };
        match denial.reason {
            Reason::PolicyDenied => self.deny.first_match(&facts)?.excluded_scopes(),
            Reason::PolicyNotAllowed => {
                let lacks = |rule: &Rule| rule.missing_scopes(&facts).is_some();
                self.allow.as_ref()?.first_where(&facts, lacks)?.missing_scopes(&facts)
            }
            _ => None,
        }
    }
}

impl Rule {
    /// The scopes without which the rule matches.
    fn excluded_scopes(&self) -> Option<MissingScope> {
        let own: Vec<_> = self.scopes.iter().filter(|condition| condition.excludes).collect();
        let scopes = own.iter().filter_map(|condition| condition.scope.clone()).collect();
        (!own.is_empty()).then_some(MissingScope(scopes))
    }

    /// The scopes that keep the rule, whose operation matches, from matching.
    fn missing_scopes(&self, facts: &Facts<'_>) -> Option<MissingScope> {
        let failing = self.failing_conditions(facts)?;
        let about_scope = |at: &usize| {
            let mut wanted = self.scopes.iter().filter(|condition| !condition.excludes);
            wanted.find(|condition| condition.at == *at)
        };
        let wanted = failing.iter().map(about_scope).collect::<Option<Vec<_>>>()?;
        let scopes = wanted.iter().filter_map(|condition| condition.scope.clone()).collect();
        (!wanted.is_empty()).then_some(MissingScope(scopes))
    }
}
