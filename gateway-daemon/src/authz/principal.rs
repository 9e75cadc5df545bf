//! Request principals: `issuer/subject` patterns against a verified identity, with Istio's way of
//! cutting them.

use std::sync::Arc;

use super::pattern::is_filled;
use crate::model::identity::Identity;
use crate::model::lookup::Lookup;
use crate::model::policy::Constraint;

/// Request principals of which one has to match.
#[derive(Default)]
struct PrincipalSet {
    /// Issuers by subject, both exact.
    exact: Lookup<Box<str>, Vec<Box<str>>>,
    others: Vec<(Part, Part)>,
}

/// A pattern for issuer or subject.
#[derive(Debug, Eq, PartialEq)]
enum Part {
    Exact(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    /// Any that is filled.
    Present,
}

impl Part {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *text,
            Self::Prefix(prefix) => text.starts_with(&**prefix),
            Self::Suffix(suffix) => text.ends_with(&**suffix),
            Self::Present => is_filled(text.as_bytes()),
        }
    }
}

/// Cuts a principal at its last slash, since issuers are URLs. A star at the front goes before a
/// star at the end, and each is about one part only; any other star is literal.
fn parse(principal: &str) -> (Part, Part) {
    let exact = |text: &str| Part::Exact(text.into());
    let (issuer, subject) = match principal.rsplit_once('/') {
        Some((issuer, subject)) => (issuer, Some(subject)),
        None => (principal, None),
    };
    if principal == "*" {
        return (Part::Present, Part::Present);
    }
    if let Some(rest) = issuer.strip_prefix('*') {
        return match subject {
            Some(subject) if rest.is_empty() => (Part::Present, exact(subject)),
            Some(subject) => (Part::Suffix(rest.into()), exact(subject)),
            None => (Part::Present, Part::Suffix(rest.into())),
        };
    }
    match subject {
        Some("*") => (exact(issuer), Part::Present),
        Some(subject) => match subject.strip_suffix('*') {
            Some(prefix) => (exact(issuer), Part::Prefix(prefix.into())),
            None => (exact(issuer), exact(subject)),
        },
        None => match issuer.strip_suffix('*') {
            Some(prefix) => (Part::Prefix(prefix.into()), Part::Present),
            None => (exact(issuer), exact("")),
        },
    }
}

impl PrincipalSet {
    fn new(principals: &[Arc<str>]) -> Option<Self> {
        let mut set = Self::default();
        for principal in principals {
            match parse(principal) {
                (Part::Exact(issuer), Part::Exact(subject)) => {
                    set.exact.entry(subject).or_default().push(issuer);
                }
                other => set.others.push(other),
            }
        }
        (!principals.is_empty()).then_some(set)
    }

    /// Whether some pattern matches. An identity without a subject is no principal; one with an
    /// empty subject is only one to patterns that name no subject.
    fn matches(&self, identity: &Identity) -> bool {
        let Some(subject) = identity.subject.as_deref() else {
            return false;
        };
        let issuer = &*identity.issuer;
        let known = |issuers: &Vec<Box<str>>| issuers.iter().any(|known| **known == *issuer);
        self.exact.get(subject).is_some_and(known)
            || self.others.iter().any(|(i, s)| i.matches(issuer) && s.matches(subject))
    }
}

/// A constraint on the request principal, compiled.
pub(super) struct PrincipalConstraint {
    values: Option<PrincipalSet>,
    not_values: Option<PrincipalSet>,
}

impl PrincipalConstraint {
    pub(super) fn new(constraint: &Constraint<Arc<str>>) -> Self {
        Self {
            values: PrincipalSet::new(&constraint.values),
            not_values: PrincipalSet::new(&constraint.not_values),
        }
    }

    /// Whether no excluded pattern matches an identity, or none.
    pub(super) fn excludes_none(&self, identity: Option<&Identity>) -> bool {
        let hit = |set: &PrincipalSet| identity.is_some_and(|identity| set.matches(identity));
        !self.not_values.as_ref().is_some_and(hit)
    }

    /// Whether an identity, or none, satisfies the constraint.
    pub(super) fn admits(&self, identity: Option<&Identity>) -> bool {
        let hit = |set: &PrincipalSet| identity.is_some_and(|identity| set.matches(identity));
        self.values.as_ref().is_none_or(hit) && !self.not_values.as_ref().is_some_and(hit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::Claim;

    #[test]
    fn principals_are_cut_as_istio_cuts_them() {
        let rows = [
            ("*", "https://a.test", "alice", true),
            ("*", "https://a.test", "", false),
            ("*", "https://a.test", "al\nice", false),
            ("https://a.test/*", "https://a.test", "alice", true),
            ("https://a.test/*", "https://a.test", "", false),
            ("https://a.test/*", "https://a.test/", "alice", false),
            ("https://a.test/al*", "https://a.test", "alice", true),
            ("https://a.test/al*", "https://a.test", "bob", false),
            ("https://a.test/alice", "https://a.test", "alice", true),
            ("https://a.test/Alice", "https://a.test", "alice", false),
            ("https://a.test/x/y", "https://a.test", "x/y", false),
            ("*/alice", "https://a.test", "alice", true),
            ("*/alice", "https://a.test", "x/alice", false),
            ("*ice", "https://a.test", "alice", true),
            ("*-a.test/alice", "https://issuer-a.test", "alice", true),
            ("*-a.test/alice", "https://issuer-b.test", "alice", false),
            ("testing@*", "testing@secure.istio.io", "anybody", true),
            ("https://issuer-*", "https://issuer-a.test", "alice", false),
            ("*/*", "https://a.test", "alice", false),
            ("*/*", "https://a.test", "*", true),
            ("**", "https://a.test", "x*", true),
            ("alice", "alice", "", true),
            ("alice", "alice", "alice", false),
            ("https://a.test/", "https://a.test", "", true),
            ("*/", "https://a.test", "", true),
            ("https://a.test/al*", "https://a.test", "", false),
        ];
        for (pattern, issuer, subject, expected) in rows {
            let identity = Identity {
                issuer: issuer.into(),
                subject: Some(subject.into()),
                claims: Arc::new(Claim::Object(Vec::new())),
                space_delimited: Arc::from([]),
            };
            let list = vec![Arc::from(pattern)];
            let constraint = Constraint { values: list.clone(), not_values: Vec::new() };
            let admits = PrincipalConstraint::new(&constraint).admits(Some(&identity));
            assert_eq!(admits, expected, "{pattern} against {issuer}/{subject}");
            let constraint = Constraint { values: Vec::new(), not_values: list };
            let admits = PrincipalConstraint::new(&constraint).admits(Some(&identity));
            assert_eq!(admits, !expected, "not {pattern} against {issuer}/{subject}");
        }
    }

    #[test]
    fn nobody_matches_no_pattern() {
        let nameless = Identity {
            issuer: "alice".into(),
            subject: None,
            claims: Arc::new(Claim::Object(Vec::new())),
            space_delimited: Arc::from([]),
        };
        let list = vec![Arc::from("*"), Arc::from("alice"), Arc::from("alice/")];
        let positive = Constraint { values: list.clone(), not_values: Vec::new() };
        let negative = Constraint { values: Vec::new(), not_values: list };
        for identity in [None, Some(&nameless)] {
            assert!(!PrincipalConstraint::new(&positive).admits(identity));
            assert!(PrincipalConstraint::new(&negative).admits(identity));
        }
    }
}
