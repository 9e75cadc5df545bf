//! Compiled rules: `from` AND `to` AND every `when`.

mod obstacles;

use std::sync::Arc;

use super::attribute::Facts;
use super::condition::{Condition, admits_port, in_blocks};
use super::decision::DecidedBy;
use super::pattern::{PathSet, PatternSet, Presence, TextConstraint};
use super::principal::PrincipalConstraint;
use super::scope::ScopeCondition;
use crate::model::ext_authz::Provider;
use crate::model::policy::{self as model, Action, Cidr, Constraint, Policy};

/// A rule of a policy.
pub(super) struct Rule {
    /// Policy and position.
    pub(super) name: Arc<DecidedBy>,
    pub(super) action: Action,
    /// Whom a CUSTOM policy asks, if it can.
    pub(super) provider: Option<Arc<Provider>>,
    /// Any of them; none is no constraint.
    sources: Vec<Source>,
    /// Any of them; none is no constraint.
    pub(super) operations: Vec<Operation>,
    /// All of them.
    conditions: Vec<Condition>,
    /// Those of them that are about scopes.
    pub(super) scopes: Vec<ScopeCondition>,
}

/// An entry of `from`.
struct Source {
    request_principals: PrincipalConstraint,
    ip_blocks: Constraint<Cidr>,
    remote_ip_blocks: Constraint<Cidr>,
    /// Whether what it says about certificates of peers holds for a peer without one.
    peer_identity: bool,
}

/// An entry of `to`.
pub(super) struct Operation {
    hosts: TextConstraint,
    ports: Constraint<u16>,
    methods: TextConstraint,
    paths: Option<PathSet>,
    not_paths: Option<PathSet>,
}

/// The field of an operation by which an index found it: its values are known to match.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Anchor {
    /// None.
    Nothing,
    /// `paths`.
    Paths,
    /// `hosts`.
    Hosts,
}

impl Rule {
    /// Compiles a rule of a policy.
    pub(super) fn compile(rule: &model::Rule, policy: &Policy, name: Arc<DecidedBy>) -> Self {
        Self {
            name,
            action: policy.action,
            provider: policy.provider.clone(),
            sources: rule.from.iter().map(Source::compile).collect(),
            operations: rule.to.iter().map(Operation::compile).collect(),
            conditions: rule.when.iter().map(Condition::compile).collect(),
            scopes: ScopeCondition::of(rule),
        }
    }

    /// Whether `from` and every `when` match.
    pub(super) fn admits(&self, facts: &Facts<'_>) -> bool {
        self.admits_source(facts) && self.conditions.iter().all(|condition| condition.holds(facts))
    }

    /// Whether `from` matches.
    fn admits_source(&self, facts: &Facts<'_>) -> bool {
        self.sources.is_empty() || self.sources.iter().any(|source| source.matches(facts))
    }

    /// Positions of the conditions that do not hold; none where `from` does not match.
    pub(super) fn failing_conditions(&self, facts: &Facts<'_>) -> Option<Vec<usize>> {
        let conditions = self.conditions.iter().enumerate();
        let failing = conditions.filter(|(_, condition)| !condition.holds(facts)).map(|(at, _)| at);
        self.admits_source(facts).then(|| failing.collect())
    }
}

impl Source {
    fn compile(source: &model::Source) -> Self {
        let model::Source {
            principals,
            request_principals,
            namespaces,
            service_accounts,
            ip_blocks,
            remote_ip_blocks,
        } = source;
        let peer = [principals, namespaces, service_accounts];
        Self {
            request_principals: PrincipalConstraint::new(request_principals),
            ip_blocks: ip_blocks.clone(),
            remote_ip_blocks: remote_ip_blocks.clone(),
            peer_identity: peer.iter().all(|constraint| constraint.values.is_empty()),
        }
    }

    fn matches(&self, facts: &Facts<'_>) -> bool {
        self.peer_identity
            && in_blocks(&self.ip_blocks, facts.peer_ip())
            && in_blocks(&self.remote_ip_blocks, facts.client_ip())
            && self.request_principals.admits(facts.identity)
    }
}

impl Operation {
    fn compile(operation: &model::Operation) -> Self {
        let model::Operation { hosts, ports, methods, paths } = operation;
        let present = |patterns: &[_]| PatternSet::new(patterns, Presence::Any);
        Self {
            hosts: TextConstraint::new(hosts, |patterns| PatternSet::lowercase(patterns)),
            ports: ports.clone(),
            methods: TextConstraint::new(methods, present),
            paths: PathSet::new(&paths.values),
            not_paths: PathSet::new(&paths.not_values),
        }
    }

    /// Whether a request that was found by `anchor` matches the rest too.
    pub(super) fn matches(&self, facts: &Facts<'_>, anchor: Anchor) -> bool {
        let view = facts.view;
        let host = view.authority_lowercase().as_bytes();
        let host_matches = match anchor {
            Anchor::Hosts => self.hosts.excludes_none(host),
            Anchor::Paths | Anchor::Nothing => self.hosts.admits(host),
        };
        host_matches
            && self.methods.admits(view.method().as_str().as_bytes())
            && admits_port(&self.ports, facts.conn.local.port())
            && (anchor == Anchor::Paths
                || self.paths.as_ref().is_none_or(|set| set.matches(view.path())))
            && !self.not_paths.as_ref().is_some_and(|set| set.matches(view.path()))
    }
}
