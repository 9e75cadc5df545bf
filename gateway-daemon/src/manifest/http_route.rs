//! `gateway.networking.k8s.io/v1 HTTPRoute`.

use serde::Deserialize;

use super::{Ignored, Manifest, Port, Unsupported, words};

/// An HTTPRoute.
pub(crate) type HttpRoute = Manifest<HttpRouteSpec>;

/// `spec`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct HttpRouteSpec {
    #[serde(default)]
    pub(crate) parent_refs: Vec<ParentReference>,
    #[serde(default)]
    pub(crate) hostnames: Vec<String>,
    #[serde(default)]
    pub(crate) rules: Vec<HttpRouteRule>,
    #[serde(rename = "useDefaultGateways")]
    _use_default_gateways: Option<Unsupported>,
}

/// `spec.parentRefs[]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ParentReference {
    pub(crate) group: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) section_name: Option<String>,
    pub(crate) port: Option<Port>,
}

/// `spec.rules[]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct HttpRouteRule {
    #[serde(rename = "name")]
    _name: Ignored,
    #[serde(default)]
    pub(crate) matches: Vec<HttpRouteMatch>,
    #[serde(default)]
    pub(crate) backend_refs: Vec<HttpBackendReference>,
    #[serde(rename = "filters")]
    _filters: Option<Unsupported>,
    #[serde(rename = "retry")]
    _retry: Option<Unsupported>,
    #[serde(rename = "sessionPersistence")]
    _session_persistence: Option<Unsupported>,
    #[serde(rename = "timeouts")]
    _timeouts: Option<Unsupported>,
}

/// `spec.rules[].matches[]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct HttpRouteMatch {
    pub(crate) path: Option<HttpPathMatch>,
    #[serde(rename = "headers")]
    _headers: Option<Unsupported>,
    #[serde(rename = "method")]
    _method: Option<Unsupported>,
    #[serde(rename = "queryParams")]
    _query_params: Option<Unsupported>,
}

/// `spec.rules[].matches[].path`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct HttpPathMatch {
    #[serde(rename = "type")]
    pub(crate) kind: Option<PathMatchType>,
    pub(crate) value: Option<String>,
}

words! {
    /// `spec.rules[].matches[].path.type`.
    PathMatchType { "Exact" => Exact, "PathPrefix" => PathPrefix, }
    unsupported { "RegularExpression" }
}

/// `spec.rules[].backendRefs[]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct HttpBackendReference {
    #[serde(default)]
    pub(crate) group: String,
    pub(crate) kind: Option<String>,
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    pub(crate) port: Option<Port>,
    #[serde(default)]
    pub(crate) weight: Weight,
    #[serde(rename = "filters")]
    _filters: Option<Unsupported>,
}

/// `weight`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "i64")]
pub(crate) struct Weight(pub(crate) u32);

impl Default for Weight {
    fn default() -> Self {
        Self(1)
    }
}

impl TryFrom<i64> for Weight {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        u32::try_from(number)
            .ok()
            .filter(|weight| *weight <= 1_000_000)
            .map(Self)
            .ok_or_else(|| format!("{number} is not a weight; use 0 to 1000000"))
    }
}
