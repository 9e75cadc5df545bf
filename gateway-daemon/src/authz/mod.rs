//! Policy decisions (AuthorizationPolicy). Pure: no clock, socket, file or log inside.
//!
//! CUSTOM rules first, which say who has to be asked; then DENY rules, then ALLOW rules if there are
//! any. AUDIT policies and policies in dry run are kept apart: they never decide, and say what they
//! would have said when asked.

mod attribute;
mod condition;
mod custom;
mod decision;
mod index;
mod pattern;
mod principal;
mod rule;
mod scope;
mod shadow;
#[cfg(test)]
mod tests;
mod trace;

use std::sync::Arc;

pub use self::custom::{Answer, Consultation, Pending, Vetted};
pub use self::decision::{DecidedBy, Denial, Permit, ShadowMatch};
pub use self::scope::MissingScope;
pub use self::shadow::{ShadowLedger, ShadowTally, ShadowTotals};
pub use self::trace::RuleTrace;

use self::attribute::Facts;
use self::index::RuleIndex;
use self::rule::Rule;
use self::shadow::Shadow;
use crate::model::identity::Identity;
use crate::model::policy::{Action, Policy};
use crate::model::reason::Reason;
use crate::request::{ConnMeta, RequestView};

/// Every policy that applies to one Gateway, compiled.
pub struct Engine {
    custom: RuleIndex,
    deny: RuleIndex,
    /// None: no ALLOW policy exists, so everything that is not denied is allowed.
    allow: Option<RuleIndex>,
    shadow: Shadow,
}

impl Engine {
    /// Compiles policies into an index.
    #[expect(clippy::needless_pass_by_value, reason = "what is compiled is used up")]
    pub fn compile(policies: Vec<Policy>) -> Self {
        let decides = |policy: &&Policy| !policy.dry_run && policy.action != Action::Audit;
        let of = |action| policies.iter().filter(move |p| decides(p) && p.action == action);
        let allows = of(Action::Allow).next().is_some();
        Self {
            custom: index(of(Action::Custom)),
            deny: index(of(Action::Deny)),
            allow: allows.then(|| index(of(Action::Allow))),
            shadow: Shadow::compile(&policies.iter().filter(|p| !decides(p)).collect::<Vec<_>>()),
        }
    }

    /// Decides about a request that no provider objects to.
    pub fn decide(
        &self,
        _vetted: Vetted,
        view: &RequestView,
        conn: &ConnMeta,
        identity: Option<&Identity>,
    ) -> Result<Permit, Denial> {
        let facts = Facts { view, conn, identity };
        let name = |rule: &Rule| Arc::clone(&rule.name);
        if let Some(rule) = self.deny.first_match(&facts) {
            return Err(Denial { reason: Reason::PolicyDenied, decided_by: Some(name(rule)) });
        }
        let Some(allow) = &self.allow else {
            return Ok(Permit::grant(None));
        };
        match allow.first_match(&facts) {
            Some(rule) => Ok(Permit::grant(Some(name(rule)))),
            None => Err(Denial { reason: Reason::PolicyNotAllowed, decided_by: None }),
        }
    }

    /// What AUDIT policies and policies in dry run have to say about a request: one match per
    /// policy, empty without any such policy.
    pub fn shadow(
        &self,
        view: &RequestView,
        conn: &ConnMeta,
        identity: Option<&Identity>,
    ) -> Vec<ShadowMatch> {
        self.shadow.matches(&Facts { view, conn, identity })
    }

    /// Counts what [`Self::shadow`] said about a request.
    pub fn count_shadow(&self, matches: &[ShadowMatch]) {
        self.shadow.count(matches);
    }

    /// The counts of AUDIT policies and policies in dry run; none without any such policy.
    pub fn shadow_tally(&self) -> Option<Arc<ShadowTally>> {
        self.shadow.tally()
    }
}

fn index<'p>(policies: impl Iterator<Item = &'p Policy>) -> RuleIndex {
    let rules = policies.flat_map(|policy| {
        policy.rules.iter().enumerate().map(|(position, rule)| {
            let name = DecidedBy { policy: policy.object.clone(), rule: position };
            (rule, Rule::compile(rule, policy, Arc::new(name)))
        })
    });
    RuleIndex::compile(rules.collect())
}
