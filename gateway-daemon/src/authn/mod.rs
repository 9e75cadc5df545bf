//! Token checks (RequestAuthentication; RFC 7519). Pure: no clock, socket, file or log inside.
//!
//! Every token in a place that some rule reads is judged, and each check that fails has one fixed
//! wording, that of Envoy. No token at all is not a failure: such a request has no identity, and
//! policies decide about it.

mod cache;
mod claims;
mod failure;
mod json;
mod keys;
mod output;
mod place;
mod rule;
mod trace;
mod verify;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gateway_common::bans::BanReason;

pub use self::cache::{CacheCounters, CacheLimits, CacheStats, StoreStats, TokenCache};
pub use self::keys::{KeyReport, KeyStore, StoredKeys, inspect_keys};
pub use self::trace::{RuleVerdict, TokenVerdict};

use http::HeaderName;

use self::cache::Accepted;
use self::failure::Failure;
use self::output::Reserved;
use self::place::Spent;
use self::rule::Rule;
use crate::clock::UnixSeconds;
use crate::model::identity::Identity;
use crate::model::jwt::JwtRule;
use crate::model::path::CountedPath;
use crate::model::reason::Reason;
use crate::request::RequestView;

/// Every token rule that applies to one Gateway, compiled.
pub struct Authenticator {
    /// Tells this compilation from any other, in [`TokenCache`].
    id: u64,
    /// By issuer.
    rules: Vec<Rule>,
    reserved: Reserved,
    /// Paths where tokens are not looked at.
    ignored: Vec<CountedPath>,
}

/// A request whose tokens, if any, are all good.
#[derive(Debug)]
pub struct Authenticated {
    /// Who it is from; none: no token.
    pub identity: Option<Arc<Identity>>,
}

/// A token was present and is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The reason word.
    pub reason: Reason,
    /// The body of the response, as Envoy words it.
    pub text: &'static str,
    /// What it counts as against its source, if it is a forged or malformed token.
    pub strike: Option<BanReason>,
}

/// Tokens that were accepted: those of one rule, or of several that share places.
struct Pass {
    /// What the first token gives the request.
    accepted: Arc<Accepted>,
    /// Tokens that the upstream must not see.
    spent: Spent,
}

impl Authenticator {
    /// Compiles rules whose keys are all inline; see [`Self::compile_with`].
    pub fn compile(rules: Vec<JwtRule>) -> (Self, Vec<String>) {
        Self::compile_with(rules, Vec::new(), &|_| None)
    }

    /// Compiles rules; the texts say what was left out of a key set and why. Fetched sets are
    /// those of `store` now; on `ignored` paths tokens are not looked at.
    pub fn compile_with(
        mut rules: Vec<JwtRule>,
        ignored: Vec<CountedPath>,
        store: KeyStore<'_>,
    ) -> (Self, Vec<String>) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        rules.sort_by(|a, b| a.issuer.cmp(&b.issuer));
        let (rules, notes): (Vec<_>, Vec<_>) =
            rules.iter().map(|rule| Rule::compile(rule, store)).unzip();
        let compiled = Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            reserved: Reserved::new(rules.iter().flat_map(|rule| rule.outputs.names())),
            rules,
            ignored,
        };
        (compiled, notes.into_iter().flatten().collect())
    }

    /// Whether tokens of this request are not looked at.
    pub fn ignores(&self, view: &RequestView) -> bool {
        view.is_cors_preflight() || self.ignored.iter().any(|path| path.matches(view.path()))
    }

    /// Whether a client's header of this name is taken away, because rules write it.
    pub fn reserves(&self, name: &HeaderName) -> bool {
        self.reserved.holds(name)
    }

    /// Checks the request's tokens, strips and writes headers as the rules say.
    ///
    /// A CORS preflight is not asked for tokens (browsers send none with it), but may not bring
    /// output headers either. The same holds on paths where tokens are ignored.
    pub fn authenticate(
        &self,
        view: &mut RequestView,
        now: UnixSeconds,
        cache: &mut TokenCache,
    ) -> Result<Authenticated, Refusal> {
        let pass = if self.ignores(view) { None } else { self.judge(view, now, cache)? };
        self.reserved.strip(view.headers_mut());
        let Some(Pass { accepted, spent }) = pass else {
            return Ok(Authenticated { identity: None });
        };
        spent.remove(view)?;
        for (name, value) in &accepted.headers {
            view.headers_mut().append(name.clone(), value.clone());
        }
        Ok(Authenticated { identity: Some(Arc::clone(&accepted.identity)) })
    }

    /// Finds the first rule that is satisfied: it finds tokens, and all of them are good for it.
    fn judge(
        &self,
        view: &RequestView,
        now: UnixSeconds,
        cache: &mut TokenCache,
    ) -> Result<Option<Pass>, Failure> {
        let mut spent = Spent::default();
        let mut failure = None;
        for position in 0..self.rules.len() {
            match self.by_rule(position, view, &mut spent, now, cache) {
                None => {}
                Some(Ok(accepted)) => return Ok(Some(Pass { accepted, spent })),
                Some(Err(why)) => failure = Some(why.after(failure)),
            }
        }
        match failure {
            None => Ok(None),
            Some(failure) if self.rules.len() < 2 => Err(failure),
            Some(failure) => self.together(view, spent, failure, now, cache).map(Some),
        }
    }

    /// No rule is satisfied by itself, but where rules share places they may be together: each by
    /// what it finds beside the tokens that were good for some rule, and are `spent`.
    fn together(
        &self,
        view: &RequestView,
        mut spent: Spent,
        failure: Failure,
        now: UnixSeconds,
        cache: &mut TokenCache,
    ) -> Result<Pass, Failure> {
        let mut last = None;
        for position in 0..self.rules.len() {
            match self.by_rule(position, view, &mut spent, now, cache) {
                None => {}
                Some(Ok(accepted)) => last = Some(accepted),
                Some(Err(why)) => return Err(why.after(Some(failure))),
            }
        }
        last.map(|accepted| Pass { accepted, spent }).ok_or(failure)
    }

    /// Judges what one rule finds; nothing found is no verdict. Of several bad tokens the last
    /// one is told.
    fn by_rule(
        &self,
        position: usize,
        view: &RequestView,
        spent: &mut Spent,
        now: UnixSeconds,
        cache: &mut TokenCache,
    ) -> Option<Result<Arc<Accepted>, Failure>> {
        let rule = &self.rules[position];
        let mut first = None;
        // A line that two places of this rule read is a token of each.
        let mut tokens = place::find(&rule.places, view);
        tokens.retain(|found| !spent.holds(&rule.places[found.place], found.line));
        for found in tokens.iter().rev() {
            let place = &rule.places[found.place];
            let judge = |known: &mut _| rule.judge(position, &found.token, known, now);
            match cache.judge(self.id, &found.token, now, judge) {
                Ok(accepted) => first = Some(accepted),
                Err(failure) => return Some(Err(failure)),
            }
            if !rule.forward {
                spent.add(place, found.line);
            }
        }
        first.map(Ok)
    }
}
