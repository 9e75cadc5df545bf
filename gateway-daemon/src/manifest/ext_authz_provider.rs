//! `policy.gateway.internal/v1alpha1 ExtAuthzProvider`: whom policies with action CUSTOM
//! ask. Our own kind in the words of Istio's `meshConfig.extensionProviders`; `docs/ext-authz.md` is
//! its schema.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Manifest, Port, Unsupported};

/// An ExtAuthzProvider.
pub(crate) type ExtAuthzProvider = Manifest<ExtAuthzProviderSpec>;

/// `spec`: one of the two.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ExtAuthzProviderSpec {
    pub(crate) envoy_ext_authz_http: Option<HttpProvider>,
    pub(crate) envoy_ext_authz_grpc: Option<GrpcProvider>,
}

/// `spec.envoyExtAuthzHttp`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct HttpProvider {
    pub(crate) service: String,
    pub(crate) port: Port,
    pub(crate) timeout: Option<String>,
    pub(crate) path_prefix: Option<String>,
    #[serde(default)]
    pub(crate) fail_open: bool,
    pub(crate) status_on_error: Option<String>,
    /// Nothing to clear: a provider changes neither host nor path, and routes match by those.
    #[serde(rename = "clearRouteCache")]
    _clear_route_cache: Option<bool>,
    #[serde(default)]
    pub(crate) include_request_headers_in_check: Vec<String>,
    /// Replaced by `includeRequestHeadersInCheck` years ago.
    #[serde(rename = "includeHeadersInCheck")]
    _include_headers_in_check: Option<Unsupported>,
    #[serde(default)]
    pub(crate) include_additional_headers_in_check: BTreeMap<String, String>,
    pub(crate) include_request_body_in_check: Option<RequestBody>,
    #[serde(default)]
    pub(crate) headers_to_upstream_on_allow: Vec<String>,
    #[serde(default)]
    pub(crate) headers_to_downstream_on_deny: Vec<String>,
    #[serde(default)]
    pub(crate) headers_to_downstream_on_allow: Vec<String>,
}

/// `spec.envoyExtAuthzGrpc`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct GrpcProvider {
    pub(crate) service: String,
    pub(crate) port: Port,
    pub(crate) timeout: Option<String>,
    #[serde(default)]
    pub(crate) fail_open: bool,
    pub(crate) status_on_error: Option<String>,
    /// As above.
    #[serde(rename = "clearRouteCache")]
    _clear_route_cache: Option<bool>,
    pub(crate) include_request_body_in_check: Option<RequestBody>,
}

/// `includeRequestBodyInCheck`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct RequestBody {
    pub(crate) max_request_bytes: i64,
    #[serde(default)]
    pub(crate) allow_partial_message: bool,
    #[serde(default)]
    pub(crate) pack_as_bytes: bool,
}
