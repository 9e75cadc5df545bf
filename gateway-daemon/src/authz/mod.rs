//! Policy decisions. Pure: no clock, socket, file or log inside.

use crate::model::identity::Identity;
use crate::model::object::ObjectRef;
use crate::model::policy::Policy;
use crate::model::reason::Reason;
use crate::request::{ConnMeta, RequestView};

/// Every policy that applies to one Gateway, compiled.
pub struct Engine {}

/// Proof of a yes. Its one constructor is in this module tree; `proxy/forward.rs` demands it.
#[derive(Debug)]
pub struct Permit {
    decided_by: Option<DecidedBy>,
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
#[derive(Debug)]
pub struct Denial {
    /// The reason word.
    pub reason: Reason,
    /// The policy and rule; none where ALLOW policies exist and none matched.
    pub decided_by: Option<DecidedBy>,
}

impl Permit {
    /// The policy and rule that allowed; none where no ALLOW policy exists.
    pub fn decided_by(&self) -> Option<&DecidedBy> {
        self.decided_by.as_ref()
    }
}

impl Engine {
    /// Compiles policies into an index.
    pub fn compile(policies: Vec<Policy>) -> Self {
        drop(policies);
        Self {}
    }

    /// Decides.
    pub fn decide(
        &self,
        view: &RequestView,
        conn: &ConnMeta,
        identity: Option<&Identity>,
    ) -> Result<Permit, Denial> {
        let _ = (view, conn, identity);
        Ok(Permit { decided_by: None })
    }
}
