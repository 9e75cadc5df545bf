//! Manifests to model: what each object means, and its conditions. A file per kind.
//!
//! What does not translate fails toward refusal: a route that is not accepted serves nothing, a
//! backend that does not resolve answers 500, a broken ALLOW rule matches nothing, a broken DENY
//! or CUSTOM rule matches all it targets, a token rule without usable keys refuses its issuer's tokens. Pure:
//! no files, no clock. Specs: Gateway API v1, Istio security v1.

mod attachment;
mod authorization_policy;
mod duration;
mod ext_authz_provider;
mod gateway;
mod http_route;
mod jwt_policy;
mod listener_ports;
mod reference;
mod request_authentication;
mod secret;
mod selector;
mod service;
#[cfg(test)]
mod tests;
mod topology;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bundle::{Bundle, Loaded};
use super::conditions::{ConditionType, ObjectReport, Report};
use super::fault::Fault;
use crate::model::ext_authz::Provider;
use crate::model::jwt::JwtRule;
use crate::model::listener::Listener;
use crate::model::object::ObjectRef;
use crate::model::path::CountedPath;
use crate::model::policy::Policy;
use crate::model::refusal::Refusals;
use crate::model::route::Route;
use crate::model::topology::Topology;

/// The validated whole, before it is compiled.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// Gateways, by `GatewayIndex`.
    pub(super) gateways: Vec<GatewayModel>,
    /// Accepted listeners, by `ListenerIndex`.
    pub(super) listeners: Vec<Listener>,
    /// Accepted routes.
    pub(super) routes: Vec<Route>,
}

impl Model {
    /// Goes on counting where providers of the same names did.
    pub(super) fn keep_tallies(&mut self, last: &[Arc<Provider>]) {
        let policies = self.gateways.iter_mut().flat_map(|gateway| &mut gateway.policies);
        for provider in policies.filter_map(|policy| policy.provider.as_mut()) {
            if let Some(same) = last.iter().find(|last| last.object == provider.object) {
                Arc::make_mut(provider).tally = Arc::clone(&same.tally);
            }
        }
    }
}

/// A Gateway and what applies to it.
#[derive(Debug)]
pub(super) struct GatewayModel {
    /// The object.
    pub(super) object: ObjectRef,
    /// Labels that a policy's selector is compared with.
    pub(super) labels: BTreeMap<String, String>,
    /// Token rules of every RequestAuthentication that applies, in order of object and position.
    pub(super) jwt_rules: Vec<JwtRule>,
    /// Paths where tokens are not looked at.
    pub(super) ignore_token_paths: Vec<CountedPath>,
    /// How refused requests are told.
    pub(super) refusals: Refusals,
    /// What stands in front of it.
    pub(super) topology: Topology,
    /// Every AuthorizationPolicy that applies, in order of object.
    pub(super) policies: Vec<Policy>,
}

/// Translates a bundle. The report says what became of every object; `faults` are those of its
/// reading.
pub(super) fn translate(bundle: &Bundle, faults: Vec<Fault>) -> (Model, Report) {
    let mut report = Report { faults, ignored: bundle.ignored.clone(), ..Report::default() };
    let reports = &mut report.objects;
    let grants = reference::Grants::new(bundle, reports);
    let namespaces = selector::Namespaces::new(bundle, reports);
    let certificates = secret::Certificates::new(bundle, reports);
    let services = service::Services::new(bundle, reports);
    whole_objects(&bundle.gateway_classes, reports);

    let mut model = Model::default();
    let attach = gateway::translate(bundle, &certificates, &grants, &mut model, reports);
    http_route::translate(bundle, &attach, &namespaces, &services, &grants, &mut model, reports);
    let jwt_policies = jwt_policy::Policies::new(bundle, &certificates, &mut model, reports);
    request_authentication::translate(bundle, &jwt_policies, &mut model, reports);
    jwt_policies.apply(&mut model);
    let providers = ext_authz_provider::Providers::new(bundle, &services, &grants, reports);
    authorization_policy::translate(bundle, &providers, &mut model, reports);

    if model.listeners.is_empty() && report.faults.is_empty() {
        report.problems.push(
            "no Gateway has a valid listener, so there is nothing to serve; add a Gateway or \
             correct the one that is there"
                .to_owned(),
        );
    }
    // Parts stay in order behind their object.
    report
        .objects
        .sort_by(|a, b| (&a.object, a.part.is_some()).cmp(&(&b.object, b.part.is_some())));
    (model, report)
}

/// Reports objects that need no translation of their own.
fn whole_objects<T>(objects: &[Loaded<T>], reports: &mut Vec<ObjectReport>) {
    reports.extend(
        objects
            .iter()
            .map(|loaded| ObjectReport::open(loaded, None).finish(&[ConditionType::Accepted])),
    );
}
