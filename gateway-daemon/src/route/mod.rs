//! Routing: which rule of which route a request matches, and which counted path. Pure.
//!
//! Precedence is Gateway API's (HTTPRoute, `HTTPRouteMatch`): the most specific hostname, then an
//! exact path, then the longest prefix, then the oldest route, then its name, then the order of
//! rules. Rules are put in that order when a table is compiled; a lookup costs what the host and
//! the path cost to read, however many routes there are.

mod hosts;
mod index;
mod paths;
#[cfg(test)]
mod tests;

pub use self::index::PathIndex;

use self::hosts::HostMap;
use self::paths::PathMap;
use crate::model::listener::ListenerIndex;
use crate::model::lookup::Lookup;
use crate::model::object::ObjectRef;
use crate::model::route::{Route, RouteRule};
use crate::request::RequestView;

/// All routes of a snapshot, compiled.
pub struct Table {
    routes: Vec<Route>,
    listeners: Lookup<ListenerIndex, HostMap<PathMap<RuleAt>>>,
}

/// Where a rule stands within its table: position of its route, and of the rule in it.
#[derive(Clone, Copy, Debug)]
pub struct RuleAt {
    route: usize,
    rule: usize,
}

/// What a request matched.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'t> {
    /// The HTTPRoute.
    pub route: &'t ObjectRef,
    /// Position of the rule.
    pub rule_index: usize,
    /// Where [`Table::rule`] finds the rule again.
    pub at: RuleAt,
}

impl Table {
    /// Compiles routes: Gateway API precedence, cost independent of their number.
    pub fn compile(mut routes: Vec<Route>) -> Self {
        // Of equal matches the first one entered stays: the oldest, then by name.
        routes.sort_by(|a, b| precedence(a).cmp(&precedence(b)));
        let mut listeners: Lookup<_, HostMap<PathMap<RuleAt>>> = Lookup::default();
        for (at, route) in routes.iter().enumerate() {
            for listener in &route.listeners {
                let hosts = listeners.entry(*listener).or_default();
                for hostname in hostnames(route) {
                    let paths = hosts.entry(hostname);
                    for (rule, content) in route.rules.iter().enumerate() {
                        for path in &content.matches {
                            paths.add(path, RuleAt { route: at, rule });
                        }
                    }
                }
            }
        }
        Self { routes, listeners }
    }

    /// The best match of a request on a listener.
    pub fn lookup(&self, listener: ListenerIndex, view: &RequestView) -> Option<Matched<'_>> {
        let hosts = self.listeners.get(&listener)?;
        let at = hosts.find(view.host(), |paths| paths.find(view.path()).copied())?;
        let route = &self.routes[at.route];
        Some(Matched { route: &route.object, rule_index: at.rule, at })
    }

    /// The rule that a lookup in this table found.
    pub fn rule(&self, at: RuleAt) -> &RouteRule {
        &self.routes[at.route].rules[at.rule]
    }

    /// The route of that rule, and the rule's position in it.
    pub fn name(&self, at: RuleAt) -> (&ObjectRef, usize) {
        (&self.routes[at.route].object, at.rule)
    }
}

/// What orders routes whose matches are equal: older first (without a time: last), then by name.
fn precedence(route: &Route) -> (bool, Option<&str>, &str, &str) {
    let created = route.created.as_deref();
    (created.is_none(), created, &route.object.namespace, &route.object.name)
}

/// Hostnames of a route; none stands for those of the listener, which was chosen by them already.
fn hostnames(route: &Route) -> impl Iterator<Item = Option<&crate::model::listener::Hostname>> {
    let every = route.hostnames.is_empty().then_some(None);
    route.hostnames.iter().map(Some).chain(every)
}
