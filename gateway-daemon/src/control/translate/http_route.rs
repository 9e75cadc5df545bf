//! HTTPRoute to [`Route`].

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::bundle::{Bundle, Loaded};
use super::super::conditions::{ConditionType, Draft, ObjectReport, Reason};
use super::super::path::FieldPath;
use super::Model;
use super::gateway::{Attachable, Attachables};
use super::reference::{GATEWAY_GROUP, Grants, Target, namespace_of, not_permitted};
use super::selector::Namespaces;
use super::service::Services;
use crate::manifest::gateway::FromNamespaces;
use crate::manifest::http_route::{
    HttpBackendReference, HttpPathMatch, HttpRoute, HttpRouteRule, ParentReference, PathMatchType,
};
use crate::model::backend::{Backend, BackendTarget};
use crate::model::listener::{Hostname, ListenerIndex};
use crate::model::route::{PathMatch, Route, RouteRule};

/// Adds accepted HTTPRoutes to the model.
pub(super) fn translate(
    bundle: &Bundle,
    attachables: &Attachables<'_>,
    namespaces: &Namespaces<'_>,
    services: &Services<'_>,
    grants: &Grants<'_>,
    model: &mut Model,
    reports: &mut Vec<ObjectReport>,
) {
    for loaded in &bundle.http_routes {
        let translator = Translator { loaded, attachables, namespaces, services, grants };
        model.routes.extend(translator.route(reports));
    }
}

struct Translator<'b, 't> {
    loaded: &'b Loaded<HttpRoute>,
    attachables: &'t Attachables<'b>,
    namespaces: &'t Namespaces<'t>,
    services: &'t Services<'t>,
    grants: &'t Grants<'t>,
}

impl Translator<'_, '_> {
    fn route(&self, reports: &mut Vec<ObjectReport>) -> Option<Route> {
        let spec = &self.loaded.manifest.spec;
        let mut draft = ObjectReport::open(self.loaded, None);
        let hostnames = self.hostnames(&mut draft);
        let rules = self.rules(&mut draft);
        if spec.parent_refs.is_empty() {
            let message = "names no Gateway, so the route is nowhere";
            draft.refuse(Reason::NoMatchingParent, FieldPath::of("spec.parentRefs"), message);
        }
        let valid = draft.is_good(ConditionType::Accepted);
        reports.push(draft.finish(&[ConditionType::Accepted, ConditionType::ResolvedRefs]));

        let mut listeners = BTreeSet::new();
        for (index, parent) in spec.parent_refs.iter().enumerate() {
            let part = format!("parent {}", self.parent_name(parent));
            let mut draft = ObjectReport::open(self.loaded, Some(part.into()));
            let path = FieldPath::of("spec.parentRefs").index(index);
            match self.attach(parent, &hostnames, &path) {
                Ok(attached) => listeners.extend(attached),
                Err((reason, path, message)) => draft.refuse(reason, path, message),
            }
            reports.push(draft.finish(&[ConditionType::Accepted]));
        }
        if !valid || listeners.is_empty() {
            return None;
        }
        Some(Route {
            object: self.loaded.object.clone(),
            created: self.loaded.manifest.metadata.creation_timestamp.as_deref().map(Arc::from),
            listeners: listeners.into_iter().collect(),
            hostnames,
            rules,
        })
    }

    fn parent_name(&self, parent: &ParentReference) -> String {
        let kind = parent.kind.as_deref().unwrap_or("Gateway");
        let namespace = namespace_of(parent.namespace.as_deref(), &self.loaded.object.namespace);
        let section = parent.section_name.as_deref().map(|s| format!("/{s}")).unwrap_or_default();
        let port = parent.port.map(|port| format!(":{}", port.0)).unwrap_or_default();
        format!("{kind} {namespace}/{}{section}{port}", parent.name)
    }

    /// The listeners that a parent reference attaches the route to.
    fn attach(
        &self,
        parent: &ParentReference,
        hostnames: &[Hostname],
        path: &FieldPath,
    ) -> Result<Vec<ListenerIndex>, (Reason, FieldPath, String)> {
        let kind = parent.kind.as_deref().unwrap_or("Gateway");
        if parent.group.as_deref().unwrap_or(GATEWAY_GROUP) != GATEWAY_GROUP || kind != "Gateway" {
            let message = format!("kind {kind:?} is not supported as a parent; use a Gateway");
            return Err((Reason::InvalidKind, path.key("kind"), message));
        }
        let namespace = namespace_of(parent.namespace.as_deref(), &self.loaded.object.namespace);
        let Some(listeners) = self.attachables.get(&(namespace, parent.name.as_str().into()))
        else {
            let message = format!("{} is not there; add it", self.parent_name(parent));
            return Err((Reason::NoMatchingParent, path.key("name"), message));
        };
        let named: Vec<&Attachable<'_>> = listeners
            .iter()
            .filter(|l| parent.section_name.as_deref().is_none_or(|section| section == l.name))
            .filter(|l| parent.port.is_none_or(|port| l.ports.contains(port.0)))
            .collect();
        if named.is_empty() {
            let field = if parent.section_name.is_some() { "sectionName" } else { "port" };
            let message = "the Gateway has no such listener".to_owned();
            return Err((Reason::NoMatchingParent, path.key(field), message));
        }
        let allowed: Vec<_> = named.into_iter().filter(|l| self.is_allowed(l, parent)).collect();
        if allowed.is_empty() {
            let message =
                "the listener's allowedRoutes take no HTTPRoute of this namespace".to_owned();
            return Err((Reason::NotAllowedByListeners, path.clone(), message));
        }
        let named_here = allowed.into_iter().filter(|l| {
            let Some(listener) = &l.hostname else { return true };
            hostnames.is_empty() || hostnames.iter().any(|hostname| hostname.intersects(listener))
        });
        let matching: Vec<_> = named_here.collect();
        if matching.is_empty() {
            let message = "no hostname of the route is one of the listener's".to_owned();
            let path = FieldPath::of("spec.hostnames");
            return Err((Reason::NoMatchingListenerHostname, path, message));
        }
        let served: Vec<_> = matching.iter().filter_map(|listener| listener.index).collect();
        if served.is_empty() {
            let message = "the listener is not accepted; see its conditions".to_owned();
            return Err((Reason::NoMatchingParent, path.clone(), message));
        }
        Ok(served)
    }

    fn is_allowed(&self, listener: &Attachable<'_>, parent: &ParentReference) -> bool {
        let route = &self.loaded.object.namespace;
        let gateway = parent.namespace.as_deref().unwrap_or(route);
        listener.takes_http_routes
            && match listener.namespaces.from.unwrap_or(FromNamespaces::Same) {
                FromNamespaces::All => true,
                FromNamespaces::Same => gateway == &**route,
                FromNamespaces::None => false,
                FromNamespaces::Selector => (listener.namespaces.selector.as_ref())
                    .is_some_and(|selector| self.namespaces.selects(selector, route)),
            }
    }

    fn hostnames(&self, draft: &mut Draft<'_>) -> Vec<Hostname> {
        let mut hostnames = Vec::new();
        for (index, text) in self.loaded.manifest.spec.hostnames.iter().enumerate() {
            match Hostname::parse(text) {
                Ok(hostname) => hostnames.push(hostname),
                Err(error) => {
                    let path = FieldPath::of("spec.hostnames").index(index);
                    draft.refuse(Reason::UnsupportedValue, path, error.to_string());
                }
            }
        }
        hostnames
    }

    fn rules(&self, draft: &mut Draft<'_>) -> Vec<RouteRule> {
        let rules = &self.loaded.manifest.spec.rules;
        if rules.is_empty() {
            // Gateway API's default rule: every path, and no backend.
            let everything = PathMatch::Prefix("".into());
            return vec![RouteRule { matches: vec![everything], backends: Vec::new() }];
        }
        let list = FieldPath::of("spec.rules");
        let rule = |(index, rule): (usize, &HttpRouteRule)| {
            let path = list.index(index);
            let matches = matches(rule, &path, draft);
            let references = rule.backend_refs.iter().enumerate();
            let backends = references.map(|(position, reference)| Backend {
                weight: reference.weight.0,
                target: self.backend(reference, &path.key("backendRefs").index(position), draft),
            });
            RouteRule { matches, backends: backends.collect() }
        };
        rules.iter().enumerate().map(rule).collect()
    }

    fn backend(
        &self,
        reference: &HttpBackendReference,
        path: &FieldPath,
        draft: &mut Draft<'_>,
    ) -> BackendTarget {
        match self.upstream(reference, path) {
            Ok(target) => target,
            Err((reason, path, message)) => {
                draft.unresolved(reason, path, message);
                BackendTarget::Unresolved
            }
        }
    }

    fn upstream(
        &self,
        reference: &HttpBackendReference,
        path: &FieldPath,
    ) -> Result<BackendTarget, (Reason, FieldPath, String)> {
        let kind = reference.kind.as_deref().unwrap_or("Service");
        if !reference.group.is_empty() || kind != "Service" {
            let message = format!("kind {kind:?} is not supported as a backend; use a Service");
            return Err((Reason::InvalidKind, path.key("kind"), message));
        }
        let Some(port) = reference.port else {
            let message = "is missing; name a port of the Service".to_owned();
            return Err((Reason::BackendNotFound, path.key("port"), message));
        };
        let holder = &self.loaded.object.namespace;
        let namespace = namespace_of(reference.namespace.as_deref(), holder);
        let target = Target { kind: "Service", namespace: &namespace, name: &reference.name };
        if !self.grants.permit("HTTPRoute", holder, &target) {
            let message = not_permitted("an HTTPRoute", holder, &target);
            return Err((Reason::RefNotPermitted, path.key("namespace"), message));
        }
        let upstream = self
            .services
            .resolve(&namespace, &reference.name, port.0)
            .map_err(|(reason, message)| (reason, path.clone(), message))?;
        Ok(BackendTarget::Resolved(upstream))
    }
}

fn matches(rule: &HttpRouteRule, path: &FieldPath, draft: &mut Draft<'_>) -> Vec<PathMatch> {
    let everything = || PathMatch::Prefix("".into());
    if rule.matches.is_empty() {
        return vec![everything()];
    }
    let mut matches = Vec::new();
    for (index, entry) in rule.matches.iter().enumerate() {
        match entry.path.as_ref().map_or_else(|| Ok(everything()), path_match) {
            Ok(path_match) => matches.push(path_match),
            Err(message) => {
                let path = path.key("matches").index(index).key("path.value");
                draft.refuse(Reason::UnsupportedValue, path, message);
            }
        }
    }
    matches
}

fn path_match(wire: &HttpPathMatch) -> Result<PathMatch, String> {
    let value = wire.value.as_deref().unwrap_or("/");
    is_normal_path(value)?;
    Ok(match wire.kind.unwrap_or(PathMatchType::PathPrefix) {
        PathMatchType::Exact => PathMatch::Exact(value.into()),
        PathMatchType::PathPrefix => {
            PathMatch::Prefix(value.strip_suffix('/').unwrap_or(value).into())
        }
    })
}

/// Whether a normalised request path can look like this; a match on anything else never matches,
/// which its author did not mean.
fn is_normal_path(value: &str) -> Result<(), String> {
    let never = |why: &str| Err(format!("no request has a path like {value:?}: {why}"));
    if !value.starts_with('/') {
        return Err(format!("{value:?} does not start with a slash"));
    }
    if value.contains("//") {
        return Err(format!("{value:?} holds an empty segment (\"//\"), which is not supported"));
    }
    if value.split('/').any(|segment| matches!(segment, "." | "..")) {
        return never("dot segments are resolved");
    }
    let bytes = value.as_bytes();
    for (position, byte) in bytes.iter().enumerate() {
        match byte {
            b'?' | b'#' => {
                return Err(format!("{value:?} holds {:?}; give the path alone", *byte as char));
            }
            b'\\' => return never("a backslash becomes a slash"),
            b'%' => {
                let code = bytes
                    .get(position + 1..position + 3)
                    .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
                if code.is_some_and(|c| c.is_ascii_alphanumeric() || b"-._~".contains(&c)) {
                    return never("letters, digits and -._~ are decoded; write them so");
                }
                if code == Some(0) {
                    return never("%00 is refused");
                }
            }
            0x21..=0x7e => {}
            _ => return never("other characters are percent-encoded; write them so"),
        }
    }
    Ok(())
}
