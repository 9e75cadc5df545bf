//! The outcome of a decision. [`Permit`] is made here and nowhere else.

use std::sync::Arc;

use crate::model::object::ObjectRef;
use crate::model::policy::Action;
use crate::model::reason::Reason;

/// Proof of a yes; forwarding a request demands it.
///
/// Only [`Engine::decide`](super::Engine::decide) makes one. Neither its field nor its constructor
/// is visible outside:
///
/// ```compile_fail,E0451
/// let forged = gateway_daemon::authz::Permit { decided_by: None };
/// ```
///
/// ```compile_fail,E0624
/// let forged = gateway_daemon::authz::Permit::grant(None);
/// ```
#[derive(Debug)]
pub struct Permit {
    decided_by: Option<Arc<DecidedBy>>,
}

/// The policy and rule that decided.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DecidedBy {
    /// The policy.
    pub policy: ObjectRef,
    /// Position of the rule.
    pub rule: usize,
}

/// A no.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Denial {
    /// The reason word.
    pub reason: Reason,
    /// The policy and rule; none where ALLOW policies exist and none matched.
    pub decided_by: Option<Arc<DecidedBy>>,
}

/// What a policy that does not count would have said: an AUDIT policy, or one in dry run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ShadowMatch {
    /// The policy and the first of its rules that matched.
    pub matched: Arc<DecidedBy>,
    /// The policy's action.
    pub action: Action,
    /// Where the policy is counted.
    pub(super) row: usize,
}

impl Permit {
    /// The one door: a request that no DENY rule matches, and some ALLOW rule where there are any.
    pub(super) fn grant(decided_by: Option<Arc<DecidedBy>>) -> Self {
        Self { decided_by }
    }

    /// The policy and rule that allowed; none where no ALLOW policy exists.
    pub fn decided_by(&self) -> Option<&Arc<DecidedBy>> {
        self.decided_by.as_ref()
    }
}
