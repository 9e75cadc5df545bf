//! Token checks told rule by rule, for people who ask why.

use std::fmt;
use std::sync::Arc;

use super::cache::{CacheLimits, TokenCache};
use super::claims::Jwt;
use super::place::{self, Place};
use super::{Authenticator, Refusal};
use crate::clock::UnixSeconds;
use crate::request::RequestView;

/// How one rule judged tokens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuleVerdict {
    /// Object and position: `RequestAuthentication namespace/name: jwtRules[0]`.
    pub rule: Arc<str>,
    /// The issuer it is about.
    pub issuer: Arc<str>,
    /// Where it looks for tokens.
    pub places: Vec<String>,
    /// The tokens it found.
    pub tokens: Vec<TokenVerdict>,
}

/// How a rule judged one token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenVerdict {
    /// Where it stood.
    pub place: String,
    /// Good, or the check that failed.
    pub outcome: Result<(), Refusal>,
}

impl Authenticator {
    /// What every rule finds in a request, and how it judges that by itself.
    pub fn trace(&self, view: &RequestView, now: UnixSeconds) -> Vec<RuleVerdict> {
        self.verdicts(|position| {
            let rule = &self.rules[position];
            let found = place::find(&rule.places, view);
            let verdict = |found: &place::Found<'_>| TokenVerdict {
                place: rule.places[found.place].to_string(),
                outcome: self.judge_one(position, &found.token, now),
            };
            found.iter().map(verdict).collect()
        })
    }

    /// How every rule judges one token, wherever it stands.
    pub fn inspect(&self, token: &[u8], now: UnixSeconds) -> Vec<RuleVerdict> {
        self.verdicts(|position| {
            let outcome = self.judge_one(position, token, now);
            vec![TokenVerdict { place: "given".to_owned(), outcome }]
        })
    }

    /// Whether a token is well-formed, whatever any rule says about it.
    pub fn form(token: &[u8]) -> Result<(), Refusal> {
        Jwt::parse(token).map(|_| ()).map_err(Refusal::from)
    }

    fn verdicts(&self, tokens: impl Fn(usize) -> Vec<TokenVerdict>) -> Vec<RuleVerdict> {
        let verdict = |(position, rule): (usize, &super::Rule)| RuleVerdict {
            rule: Arc::clone(&rule.name),
            issuer: Arc::clone(&rule.issuer),
            places: rule.places.iter().map(ToString::to_string).collect(),
            tokens: tokens(position),
        };
        self.rules.iter().enumerate().map(verdict).collect()
    }

    fn judge_one(&self, position: usize, token: &[u8], now: UnixSeconds) -> Result<(), Refusal> {
        let rule = &self.rules[position];
        let judge = |known: &mut _| rule.judge(position, token, known, now);
        let verdict = TokenCache::new(CacheLimits::LEAST).judge(self.id, token, now, judge);
        verdict.map(|_| ()).map_err(Refusal::from)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header { name, prefix } if prefix.is_empty() => write!(f, "header {name}"),
            Self::Header { name, prefix } => write!(f, "header {name}, prefix {prefix:?}"),
            Self::Param(name) => write!(f, "parameter {name}"),
            Self::Cookie(name) => write!(f, "cookie {name}"),
        }
    }
}
