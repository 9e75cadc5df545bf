//! `v1 Namespace`: its labels decide which routes a listener with a selector takes.

use serde::Deserialize;

use super::Ignored;
use super::meta::ObjectMeta;

/// A Namespace.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Namespace {
    #[serde(rename = "apiVersion")]
    _api_version: Ignored,
    #[serde(rename = "kind")]
    _kind: Ignored,
    pub(crate) metadata: ObjectMeta,
    #[serde(rename = "spec")]
    _spec: Ignored,
    #[serde(rename = "status")]
    _status: Ignored,
}
