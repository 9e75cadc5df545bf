//! Which Gateways a policy applies to: SEMANTICS of Istio's selector and targetRefs.
//!
//! It applies from the Gateway's namespace or the root namespace with no selector or one whose
//! labels the Gateway carries, or by a `targetRefs` entry in the Gateway's own namespace.

use std::sync::Arc;

use super::super::conditions::{Draft, Reason};
use super::super::path::FieldPath;
use super::gateway::CLASS_LABEL;
use super::reference::GATEWAY_GROUP;
use super::{GatewayModel, Model};
use crate::manifest::selector::{PolicyTargetReference, WorkloadSelector};
use crate::model::object::ObjectRef;

/// The namespace whose policies apply everywhere (Istio's default `rootNamespace`).
pub(super) const ROOT_NAMESPACE: &str = "istio-system";

/// Istio's own class, as its Gateways carry it. A policy written for one keeps its effect here.
const ISTIO_CLASS: &str = "istio";

/// How a policy says what it applies to.
pub(super) struct Attachment<'m> {
    pub(super) object: &'m ObjectRef,
    pub(super) selector: Option<&'m WorkloadSelector>,
    pub(super) target_ref: Option<&'m PolicyTargetReference>,
    pub(super) target_refs: &'m [PolicyTargetReference],
}

impl Attachment<'_> {
    /// Positions in `model.gateways` of those it applies to.
    pub(super) fn gateways(&self, model: &Model, draft: &mut Draft<'_>) -> Vec<usize> {
        let targets = self.targets();
        if self.selector.is_some() && !targets.is_empty() {
            let message = "a policy has either a selector or targetRefs; it applies by both now";
            draft.refuse(Reason::Invalid, FieldPath::of("spec.selector"), message);
        }
        for (path, target) in &targets {
            self.check(path, target, model, draft);
        }
        let gateways = model.gateways.iter().enumerate();
        let selected: Vec<usize> = gateways
            .filter(|(_, gateway)| {
                targets.iter().any(|(_, target)| self.names(target, gateway))
                    || ((targets.is_empty() || self.selector.is_some()) && self.selects(gateway))
            })
            .map(|(index, _)| index)
            .collect();
        if selected.is_empty() {
            draft.note("applies to no Gateway");
        }
        selected
    }

    fn targets(&self) -> Vec<(FieldPath, &PolicyTargetReference)> {
        let list = FieldPath::of("spec.targetRefs");
        let single = self.target_ref.map(|target| (FieldPath::of("spec.targetRef"), target));
        let several = self.target_refs.iter().enumerate();
        single.into_iter().chain(several.map(|(i, target)| (list.index(i), target))).collect()
    }

    /// A target that leads nowhere has no effect; saying so is all that can be done.
    fn check(
        &self,
        path: &FieldPath,
        target: &PolicyTargetReference,
        model: &Model,
        draft: &mut Draft<'_>,
    ) {
        let namespace = &self.object.namespace;
        if target.namespace.as_deref().is_some_and(|own| own != &**namespace) {
            let message = "a policy can only target its own namespace; it has no effect there";
            draft.refuse(Reason::Invalid, path.key("namespace"), message);
        } else if target.group != GATEWAY_GROUP || target.kind != "Gateway" {
            let message = format!(
                "kind {:?} of {:?} cannot be targeted here; use a Gateway of {GATEWAY_GROUP}",
                target.kind, target.group
            );
            draft.refuse(Reason::InvalidKind, path.key("kind"), message);
        } else if !model.gateways.iter().any(|gateway| self.names(target, gateway)) {
            let message = format!(
                "Gateway {namespace}/{} is not there, so the policy has no effect on it",
                target.name
            );
            draft.refuse(Reason::TargetNotFound, path.key("name"), message);
        }
    }

    fn names(&self, target: &PolicyTargetReference, gateway: &GatewayModel) -> bool {
        let namespace = target.namespace.as_deref().unwrap_or(&self.object.namespace);
        target.group == GATEWAY_GROUP
            && target.kind == "Gateway"
            && *target.name == *gateway.object.name
            && *namespace == *self.object.namespace
            && self.object.namespace == gateway.object.namespace
    }

    fn selects(&self, gateway: &GatewayModel) -> bool {
        let in_reach = self.object.namespace == gateway.object.namespace
            || *self.object.namespace == *ROOT_NAMESPACE;
        let carries = |key: &String, value: &String| {
            gateway.labels.get(key) == Some(value) || (key == CLASS_LABEL && value == ISTIO_CLASS)
        };
        in_reach
            && self.selector.is_none_or(|selector| {
                selector.match_labels.iter().all(|(key, value)| carries(key, value))
            })
    }
}

/// A text that lives in the model.
pub(super) fn shared(text: &str) -> Arc<str> {
    Arc::from(text)
}
