//! Routing: which rule of which route a request matches, and which counted path. Pure.

use gateway_common::path::PathSlot;

use crate::model::listener::ListenerIndex;
use crate::model::object::ObjectRef;
use crate::model::route::{Route, RouteRule};
use crate::request::RequestView;

/// All routes of a snapshot, compiled.
pub struct Table {}

/// What a request matched.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'t> {
    /// The HTTPRoute.
    pub route: &'t ObjectRef,
    /// Position of the rule.
    pub rule_index: usize,
    /// The rule.
    pub rule: &'t RouteRule,
}

impl Table {
    /// Compiles routes: Gateway API precedence, cost independent of their number.
    pub fn compile(routes: Vec<Route>) -> Self {
        drop(routes);
        Self {}
    }

    /// The best match of a request on a listener.
    pub fn lookup(&self, listener: ListenerIndex, view: &RequestView) -> Option<Matched<'_>> {
        let _ = (listener, view);
        None
    }
}

/// Every counted path of a snapshot, compiled.
pub struct PathIndex {}

impl PathIndex {
    /// The slot of the most specific pattern that the normalised path matches.
    pub fn slot(&self, path: &str) -> PathSlot {
        let _ = path;
        PathSlot::NONE
    }
}
