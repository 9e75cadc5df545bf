//! One compiled entry of `jwtRules`.

use std::sync::Arc;

use super::cache::{Accepted, Known};
use super::claims::Jwt;
use super::failure::Failure;
use super::keys::{KeySet, KeyStore};
use super::output::Outputs;
use super::place::{self, Place};
use crate::clock::UnixSeconds;
use crate::model::identity::Identity;
use crate::model::jwt::JwtRule;

/// A rule, ready to judge tokens.
pub(super) struct Rule {
    /// Object and position.
    pub(super) name: Arc<str>,
    pub(super) issuer: Arc<str>,
    /// Without scheme and trailing slash; empty: not checked.
    audiences: Vec<Box<str>>,
    keys: KeySet,
    pub(super) places: Vec<Place>,
    /// Whether the upstream still gets the token.
    pub(super) forward: bool,
    pub(super) outputs: Outputs,
    space_delimited: Arc<[Arc<str>]>,
    /// Seconds that `nbf` and `exp` may be off.
    clock_skew: u64,
    required_claims: Vec<Arc<str>>,
}

/// Claims that are always split at blanks.
const SPACE_DELIMITED: [&str; 2] = ["scope", "permission"];

impl Rule {
    /// Compiles a rule; the texts say what was left out of its key set and why.
    pub(super) fn compile(rule: &JwtRule, store: KeyStore<'_>) -> (Self, Vec<String>) {
        let (keys, notes) = KeySet::compile(&rule.keys, store);
        let split = SPACE_DELIMITED.into_iter().map(Arc::from);
        let compiled = Self {
            name: format!("{}: jwtRules[{}]", rule.object, rule.index).into(),
            issuer: Arc::clone(&rule.issuer),
            audiences: rule.audiences.iter().map(|a| bare(a).into()).collect(),
            keys,
            places: place::compile(&rule.places),
            forward: rule.forward_original_token,
            outputs: Outputs::compile(rule),
            clock_skew: rule.clock_skew.as_secs(),
            required_claims: rule.required_claims.clone(),
            space_delimited: split.chain(rule.space_delimited_claims.iter().cloned()).collect(),
        };
        let notes = notes.into_iter();
        let notes = notes.map(|n| format!("{}: jwtRules[{}].{n}", rule.object, rule.index));
        (compiled, notes.collect())
    }

    /// Judges a token: well-formed, of this issuer, in its time, for this audience, signed. In
    /// this order, so that an expired forgery is expired.
    pub(super) fn judge(
        &self,
        position: usize,
        token: &[u8],
        known: &mut Known,
        now: UnixSeconds,
    ) -> Result<Arc<Accepted>, Failure> {
        let jwt = known.jwt.as_ref().map_err(|failure| *failure)?;
        if jwt.issuer.as_deref() != Some(&*self.issuer) {
            return Err(Failure::Issuer);
        }
        jwt.check_time(now, self.clock_skew)?;
        self.check_audience(jwt)?;
        let verdict = if let Some(verdict) = known.verdict(position) {
            verdict
        } else {
            let verdict = self
                .keys
                .verify(&jwt.header, token, &jwt.signature)
                .and_then(|()| self.check_required(jwt))
                .map(|()| Arc::new(self.accept(jwt, token)));
            known.remember(position, verdict.clone());
            verdict
        };
        // Also for a remembered one: the wish may have come when none was granted.
        if matches!(verdict, Err(Failure::KeyUnknown)) {
            self.keys.miss();
        }
        verdict
    }

    fn check_audience(&self, jwt: &Jwt) -> Result<(), Failure> {
        let wanted = |audience: &str| self.audiences.iter().any(|a| **a == *bare(audience));
        if self.audiences.is_empty() || jwt.audiences.iter().any(|audience| wanted(audience)) {
            return Ok(());
        }
        Err(Failure::Audience)
    }

    /// After the signature, so that a forger learns nothing of what is required.
    fn check_required(&self, jwt: &Jwt) -> Result<(), Failure> {
        let missing = |claim: &Arc<str>| jwt.claims.member(claim).is_none();
        if self.required_claims.iter().any(missing) {
            return Err(Failure::ClaimMissing);
        }
        Ok(())
    }

    fn accept(&self, jwt: &Jwt, token: &[u8]) -> Accepted {
        let identity = Identity {
            issuer: Arc::clone(&self.issuer),
            subject: jwt.subject.clone(),
            claims: Arc::clone(&jwt.claims),
            space_delimited: Arc::clone(&self.space_delimited),
        };
        let headers = self.outputs.of(token, &jwt.claims);
        Accepted { identity: Arc::new(identity), headers }
    }
}

/// An audience as Envoy compares it: without `http://` or `https://` and one slash at the end.
fn bare(audience: &str) -> &str {
    let scheme = audience.strip_prefix("https://").or_else(|| audience.strip_prefix("http://"));
    let rest = scheme.unwrap_or(audience);
    rest.strip_suffix('/').unwrap_or(rest)
}
