//! CUSTOM policies: whether providers have to be asked, and what their answers mean.
//!
//! A decision demands a [`Vetted`], and there are two ways to one: no CUSTOM rule matches, or every
//! provider that a matching rule names has answered. Asking is not done here.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Engine;
use super::attribute::Facts;
use super::decision::{DecidedBy, Denial};
use crate::model::ext_authz::{CheckOutcome, Provider};
use crate::model::reason::Reason;
use crate::request::{ConnMeta, RequestView};

/// Proof that no provider objects to a request; [`Engine::decide`] uses it up.
///
/// Only this file makes one:
///
/// ```compile_fail,E0423
/// let forged = gateway_daemon::authz::Vetted(());
/// ```
#[derive(Debug)]
pub struct Vetted(());

/// What CUSTOM policies want of a request.
#[derive(Debug)]
pub enum Consultation {
    /// Nothing, or nothing more.
    Vetted(Vetted),
    /// An answer.
    Ask(Pending),
}

/// Providers that have to be asked, one after the other.
#[derive(Debug)]
pub struct Pending {
    first: Question,
    rest: VecDeque<Question>,
}

/// A provider, and the first rule that wants it asked.
#[derive(Clone, Debug)]
struct Question {
    provider: Arc<Provider>,
    asked_by: Arc<DecidedBy>,
}

/// What came of asking a provider.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// It said yes.
    Allowed,
    /// It said no.
    Denied,
    /// It could not be asked, or its answer made no sense.
    Failed,
}

impl Engine {
    /// What CUSTOM policies want of a request. Tokens play no part: they are looked at later.
    pub fn consult(&self, view: &RequestView, conn: &ConnMeta) -> Result<Consultation, Denial> {
        let mut questions: VecDeque<Question> = VecDeque::new();
        if self.custom.is_empty() {
            return Ok(Consultation::next(questions));
        }
        let facts = Facts { view, conn, identity: None };
        for (_, rule) in self.custom.all_matches(&facts) {
            let Some(provider) = &rule.provider else {
                let decided_by = Some(Arc::clone(&rule.name));
                return Err(Denial { reason: Reason::ExtAuthzError, decided_by });
            };
            if questions.iter().all(|known| known.provider.object != provider.object) {
                let (provider, asked_by) = (Arc::clone(provider), Arc::clone(&rule.name));
                questions.push_back(Question { provider, asked_by });
            }
        }
        Ok(Consultation::next(questions))
    }
}

impl Engine {
    /// Every provider that some CUSTOM policy asks.
    pub fn providers(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.custom.rules().iter().filter_map(|rule| rule.provider.as_ref())
    }
}

impl Consultation {
    fn next(mut questions: VecDeque<Question>) -> Self {
        match questions.pop_front() {
            Some(first) => Self::Ask(Pending { first, rest: questions }),
            None => Self::Vetted(Vetted(())),
        }
    }
}

impl Pending {
    /// The provider to ask now.
    pub fn provider(&self) -> &Arc<Provider> {
        &self.first.provider
    }

    /// The rule that wants it asked.
    pub fn asked_by(&self) -> &Arc<DecidedBy> {
        &self.first.asked_by
    }

    /// What its answer means: what to do next, or a no; and the word for it.
    pub fn answered(self, answer: Answer) -> (Result<Consultation, Denial>, CheckOutcome) {
        let Question { provider, asked_by } = self.first;
        let denied = |reason| Err(Denial { reason, decided_by: Some(asked_by) });
        match answer {
            Answer::Allowed => (Ok(Consultation::next(self.rest)), CheckOutcome::Allowed),
            Answer::Denied => (denied(Reason::ExtAuthzDenied), CheckOutcome::Denied),
            Answer::Failed if provider.fail_open => {
                (Ok(Consultation::next(self.rest)), CheckOutcome::FailureModeAllowed)
            }
            Answer::Failed => (denied(Reason::ExtAuthzError), CheckOutcome::Error),
        }
    }
}
