//! `v1 Secret`.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::Ignored;
use super::meta::ObjectMeta;

/// A Secret. Its data is not shown by `Debug`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Secret {
    #[serde(rename = "apiVersion")]
    _api_version: Ignored,
    #[serde(rename = "kind")]
    _kind: Ignored,
    pub(crate) metadata: ObjectMeta,
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    /// Base64.
    #[serde(default)]
    pub(crate) data: BTreeMap<String, String>,
    /// Plain text; stands above `data`.
    #[serde(default)]
    pub(crate) string_data: BTreeMap<String, String>,
    #[serde(rename = "immutable")]
    _immutable: Ignored,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("metadata", &self.metadata).finish_non_exhaustive()
    }
}
