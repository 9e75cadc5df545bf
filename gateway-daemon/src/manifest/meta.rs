//! `metadata` of every object (Kubernetes `ObjectMeta`). Read leniently: whatever an API server
//! writes there is known, most of it has no meaning for a gateway.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Ignored;

/// Labels and annotations of an object.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ObjectMeta {
    /// Read before the kind is known, as is the namespace.
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "namespace")]
    _namespace: Option<String>,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) creation_timestamp: Option<String>,
    #[serde(rename = "deletionGracePeriodSeconds")]
    _deletion_grace_period_seconds: Ignored,
    #[serde(rename = "deletionTimestamp")]
    _deletion_timestamp: Ignored,
    #[serde(rename = "finalizers")]
    _finalizers: Ignored,
    #[serde(rename = "generateName")]
    _generate_name: Ignored,
    #[serde(rename = "generation")]
    _generation: Ignored,
    #[serde(rename = "managedFields")]
    _managed_fields: Ignored,
    #[serde(rename = "ownerReferences")]
    _owner_references: Ignored,
    #[serde(rename = "resourceVersion")]
    _resource_version: Ignored,
    #[serde(rename = "selfLink")]
    _self_link: Ignored,
    #[serde(rename = "uid")]
    _uid: Ignored,
}
