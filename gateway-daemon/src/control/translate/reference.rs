//! References between objects: which of them may cross a namespace border (ReferenceGrant).

use std::sync::Arc;

use super::super::bundle::Bundle;
use super::super::conditions::ObjectReport;
use crate::manifest::reference_grant::ReferenceGrantSpec;

/// Group of Gateway API objects.
pub(super) const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// Group of our own objects.
pub(super) const OWN_GROUP: &str = "policy.gateway.internal";

/// Every ReferenceGrant of a bundle.
pub(super) struct Grants<'b>(Vec<(&'b str, &'b ReferenceGrantSpec)>);

/// The object that a core reference names.
pub(super) struct Target<'r> {
    /// `Service` or `Secret`.
    pub(super) kind: &'static str,
    /// Its namespace.
    pub(super) namespace: &'r str,
    /// Its name.
    pub(super) name: &'r str,
}

impl<'b> Grants<'b> {
    /// Of a bundle.
    pub(super) fn new(bundle: &'b Bundle, reports: &mut Vec<ObjectReport>) -> Self {
        super::whole_objects(&bundle.reference_grants, reports);
        Self(
            bundle
                .reference_grants
                .iter()
                .map(|grant| (&*grant.object.namespace, &grant.manifest.spec))
                .collect(),
        )
    }

    /// Whether an object of `kind` (of Gateway API) in `namespace` may refer to `target`.
    pub(super) fn permit(&self, kind: &str, namespace: &str, target: &Target<'_>) -> bool {
        self.permit_of(GATEWAY_GROUP, kind, namespace, target)
    }

    /// The same of any group.
    pub(super) fn permit_of(
        &self,
        group: &str,
        kind: &str,
        namespace: &str,
        target: &Target<'_>,
    ) -> bool {
        namespace == target.namespace
            || self.0.iter().any(|(grant_namespace, grant)| {
                *grant_namespace == target.namespace
                    && grant.from.iter().any(|from| {
                        from.group == group && from.kind == kind && from.namespace == namespace
                    })
                    && grant.to.iter().any(|to| {
                        to.group.is_empty()
                            && to.kind == target.kind
                            && to.name.as_deref().is_none_or(|name| name == target.name)
                    })
            })
    }
}

/// What to tell where a reference crosses a border without a grant.
pub(super) fn not_permitted(kind: &str, namespace: &str, target: &Target<'_>) -> String {
    format!(
        "{} {}/{} is in another namespace and no ReferenceGrant there lets {kind} of {namespace:?} \
         refer to it",
        target.kind, target.namespace, target.name
    )
}

/// The namespace of a reference: its own, or that of the object that holds it.
pub(super) fn namespace_of(own: Option<&str>, holder: &Arc<str>) -> Arc<str> {
    own.map_or_else(|| Arc::clone(holder), Arc::from)
}
