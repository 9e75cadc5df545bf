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
use self::place::{Found, Place};
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
    /// The places of all rules.
    shared: Vec<Shared>,
    /// [`Shared::place`] of each, for [`place::find`].
    places: Vec<Place>,
    reserved: Reserved,
    /// Paths where tokens are not looked at.
    ignored: Vec<CountedPath>,
}

/// A place with the rules that read it.
struct Shared {
    place: Place,
    readers: Vec<usize>,
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
    /// Where accepted tokens stood that the upstream must not see.
    consumed: Vec<Place>,
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
        let shared = shared(&rules);
        let compiled = Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            places: shared.iter().map(|s| s.place.clone()).collect(),
            shared,
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
        let Some(Pass { accepted, consumed }) = pass else {
            return Ok(Authenticated { identity: None });
        };
        for place in consumed {
            remove(view, &place)?;
        }
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
        let mut failure = None;
        for (position, rule) in self.rules.iter().enumerate() {
            let found = place::find(&rule.places, view);
            match self.by_rule(position, &found, now, cache) {
                None => {}
                Some(Ok(pass)) => return Ok(Some(pass)),
                // The first failure that says more than "not my issuer" is the one to tell.
                Some(Err(why)) => {
                    failure = match failure {
                        None | Some(Failure::Issuer) => Some(why),
                        told => told,
                    };
                }
            }
        }
        let Some(failure) = failure else {
            return Ok(None);
        };
        if self.rules.len() < 2 {
            return Err(failure);
        }
        match self.by_issuers(view, now, cache) {
            Ok(pass) => Ok(Some(pass)),
            Err(why) if failure == Failure::Issuer => Err(why),
            Err(_) => Err(failure),
        }
    }

    /// Judges what one rule found; nothing found is no verdict. Of several bad tokens the last
    /// one is told.
    fn by_rule(
        &self,
        position: usize,
        found: &[Found<'_>],
        now: UnixSeconds,
        cache: &mut TokenCache,
    ) -> Option<Result<Pass, Failure>> {
        let rule = &self.rules[position];
        let mut first = None;
        for Found { token, .. } in found.iter().rev() {
            let judge = |known: &mut _| rule.judge(position, token, known, now);
            match cache.judge(self.id, token, now, judge) {
                Ok(accepted) => first = Some(accepted),
                Err(failure) => return Some(Err(failure)),
            }
        }
        let consumed = |found: &Found<'_>| rule.places[found.place].clone();
        let consumed = if rule.forward { Vec::new() } else { found.iter().map(consumed).collect() };
        first.map(|accepted| Ok(Pass { accepted, consumed }))
    }

    /// Judges each token by the rules of its own issuer that read its place, as is needed where
    /// several rules share places. All of them have to be good.
    fn by_issuers(
        &self,
        view: &RequestView,
        now: UnixSeconds,
        cache: &mut TokenCache,
    ) -> Result<Pass, Failure> {
        let mut first = None;
        let mut consumed = Vec::new();
        for Found { place, token } in place::find(&self.places, view).iter().rev() {
            let shared = &self.shared[*place];
            let (position, accepted) = cache.judge(self.id, token, now, |known| {
                let judge = |position: &usize| {
                    let verdict = self.rules[*position].judge(*position, token, known, now);
                    verdict.map(|accepted| (*position, accepted))
                };
                best(shared.readers.iter().map(judge))
            })?;
            first = Some(accepted);
            if !self.rules[position].forward {
                consumed.push(shared.place.clone());
            }
        }
        first.map(|accepted| Pass { accepted, consumed }).ok_or(Failure::Issuer)
    }
}

/// The first success, else the first failure that says more than "not my issuer".
fn best<T>(verdicts: impl Iterator<Item = Result<T, Failure>>) -> Result<T, Failure> {
    let mut failure = Failure::Issuer;
    for verdict in verdicts {
        match verdict {
            Ok(success) => return Ok(success),
            Err(why) if failure == Failure::Issuer => failure = why,
            Err(_) => {}
        }
    }
    Err(failure)
}

/// The places of all rules in order, each with its readers.
fn shared(rules: &[Rule]) -> Vec<Shared> {
    let places = rules.iter().flat_map(|rule| &rule.places).cloned().collect();
    let readers = |place: &Place| {
        let reads = |position: &usize| rules[*position].places.contains(place);
        (0..rules.len()).filter(reads).collect()
    };
    place::in_order(places)
        .into_iter()
        .map(|place| Shared { readers: readers(&place), place })
        .collect()
}

/// Removes an accepted token: the whole header, or every parameter of the name. Cookies stay.
fn remove(view: &mut RequestView, place: &Place) -> Result<(), Refusal> {
    match place {
        Place::Header { name, .. } => {
            view.headers_mut().remove(name);
            Ok(())
        }
        Place::Param(name) => view.remove_param(name).map_err(|_| Failure::Form.into()),
        Place::Cookie(_) => Ok(()),
    }
}
