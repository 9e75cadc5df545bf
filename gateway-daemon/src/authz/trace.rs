//! A decision told rule by rule, for people who ask why.

use std::sync::Arc;

use super::attribute::Facts;
use super::decision::DecidedBy;
use super::{Engine, RuleIndex};
use crate::model::identity::Identity;
use crate::model::policy::Action;
use crate::request::{ConnMeta, RequestView};

/// How one rule met a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuleTrace {
    /// Policy and rule.
    pub name: Arc<DecidedBy>,
    /// The policy's action.
    pub action: Action,
    /// An AUDIT policy or one in dry run: never decides.
    pub shadow: bool,
    /// Fields that keep it from matching, below the rule; none: it matches.
    pub obstacles: Vec<String>,
}

impl Engine {
    /// Every rule, in the order in which they are asked.
    pub fn trace(
        &self,
        view: &RequestView,
        conn: &ConnMeta,
        identity: Option<&Identity>,
    ) -> Vec<RuleTrace> {
        let facts = Facts { view, conn, identity };
        let mut traces = rules(&self.deny, false, &facts);
        traces.extend(self.allow.iter().flat_map(|allow| rules(allow, false, &facts)));
        traces.extend(rules(&self.shadow, true, &facts));
        traces
    }

    /// Whether ALLOW policies exist, so that one of them has to match.
    pub fn allows_by_policy(&self) -> bool {
        self.allow.is_some()
    }
}

fn rules(index: &RuleIndex, shadow: bool, facts: &Facts<'_>) -> Vec<RuleTrace> {
    let trace = |rule: &super::Rule| RuleTrace {
        name: Arc::clone(&rule.name),
        action: rule.action,
        shadow,
        obstacles: rule.obstacles(facts),
    };
    index.rules().iter().map(trace).collect()
}
