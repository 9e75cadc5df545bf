//! What keeps a rule from matching, field by field: for people who ask why. A decision itself never
//! asks; both look by the same code.

use super::{Anchor, Facts, Operation, Rule, Source};
use crate::authz::condition::{admits_port, in_blocks};
use crate::model::policy::Constraint;

impl Rule {
    /// The fields that keep the rule from matching, as field paths below the rule; none: it
    /// matches. Alternatives are all listed, since any of them would have sufficed.
    pub(in crate::authz) fn obstacles(&self, facts: &Facts<'_>) -> Vec<String> {
        let mut found = Vec::new();
        if !self.sources.is_empty() && !self.sources.iter().any(|source| source.matches(facts)) {
            for (at, source) in self.sources.iter().enumerate() {
                let fields = source.obstacles(facts).into_iter();
                found.extend(fields.map(|field| format!("from[{at}].source.{field}")));
            }
        }
        let matches = |operation: &Operation| operation.matches(facts, Anchor::Nothing);
        if !self.operations.is_empty() && !self.operations.iter().any(matches) {
            for (at, operation) in self.operations.iter().enumerate() {
                let fields = operation.obstacles(facts).into_iter();
                found.extend(fields.map(|field| format!("to[{at}].operation.{field}")));
            }
        }
        for (at, condition) in self.conditions.iter().enumerate() {
            if !condition.holds(facts) {
                found.push(format!("when[{at}]"));
            }
        }
        found
    }
}

impl Source {
    fn obstacles(&self, facts: &Facts<'_>) -> Vec<&'static str> {
        let (peer, client) = (facts.peer_ip(), facts.client_ip());
        let principals = &self.request_principals;
        let excluded = !principals.excludes_none(facts.identity);
        let none_of = |blocks: &Constraint<_>, address| in_blocks(&only_not(blocks), address);
        named([
            // No client is asked for a certificate, so that positive forms never hold.
            ("principals, namespaces or serviceAccounts", !self.peer_identity),
            ("notRequestPrincipals", excluded),
            ("requestPrincipals", !excluded && !principals.admits(facts.identity)),
            ("notIpBlocks", !none_of(&self.ip_blocks, peer)),
            ("ipBlocks", none_of(&self.ip_blocks, peer) && !in_blocks(&self.ip_blocks, peer)),
            ("notRemoteIpBlocks", !none_of(&self.remote_ip_blocks, client)),
            (
                "remoteIpBlocks",
                none_of(&self.remote_ip_blocks, client)
                    && !in_blocks(&self.remote_ip_blocks, client),
            ),
        ])
    }
}

impl Operation {
    fn obstacles(&self, facts: &Facts<'_>) -> Vec<&'static str> {
        let view = facts.view;
        let host = view.authority_lowercase().as_bytes();
        let method = view.method().as_str().as_bytes();
        let port = facts.conn.local.port();
        let not_ports = admits_port(&only_not(&self.ports), port);
        named([
            ("notHosts", !self.hosts.excludes_none(host)),
            ("hosts", self.hosts.excludes_none(host) && !self.hosts.admits(host)),
            ("notPorts", !not_ports),
            ("ports", not_ports && !admits_port(&self.ports, port)),
            ("notMethods", !self.methods.excludes_none(method)),
            ("methods", self.methods.excludes_none(method) && !self.methods.admits(method)),
            ("notPaths", self.not_paths.as_ref().is_some_and(|set| set.matches(view.path()))),
            ("paths", self.paths.as_ref().is_some_and(|set| !set.matches(view.path()))),
        ])
    }
}

/// The exclusions alone.
fn only_not<T: Clone>(constraint: &Constraint<T>) -> Constraint<T> {
    Constraint { values: Vec::new(), not_values: constraint.not_values.clone() }
}

/// The names of what stands in the way.
fn named<const N: usize>(fields: [(&'static str, bool); N]) -> Vec<&'static str> {
    fields.into_iter().filter(|(_, stands)| *stands).map(|(name, _)| name).collect()
}
