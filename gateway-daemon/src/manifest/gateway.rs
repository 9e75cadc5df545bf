//! `gateway.networking.k8s.io/v1 Gateway`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::selector::LabelSelector;
use super::{Manifest, Port, Unsupported, words};

/// A Gateway.
pub(crate) type Gateway = Manifest<GatewaySpec>;

/// `spec`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct GatewaySpec {
    pub(crate) gateway_class_name: String,
    pub(crate) listeners: Vec<Listener>,
    #[serde(default)]
    pub(crate) addresses: Vec<Address>,
    pub(crate) infrastructure: Option<Infrastructure>,
    #[serde(rename = "allowedListeners")]
    _allowed_listeners: Option<Unsupported>,
    #[serde(rename = "backendTLS")]
    _backend_tls: Option<Unsupported>,
    #[serde(rename = "defaultScope")]
    _default_scope: Option<Unsupported>,
    #[serde(rename = "tls")]
    _tls: Option<Unsupported>,
}

/// `spec.listeners[]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) hostname: Option<String>,
    pub(crate) port: Port,
    pub(crate) protocol: Protocol,
    pub(crate) tls: Option<ListenerTls>,
    #[serde(default)]
    pub(crate) allowed_routes: AllowedRoutes,
}

words! {
    /// `protocol`.
    Protocol { "HTTP" => Http, "HTTPS" => Https, }
    unsupported { "TLS", "TCP", "UDP" }
}

/// `tls`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ListenerTls {
    #[serde(rename = "mode")]
    _mode: Option<TlsMode>,
    #[serde(default)]
    pub(crate) certificate_refs: Vec<SecretReference>,
    #[serde(rename = "frontendValidation")]
    _frontend_validation: Option<Unsupported>,
    #[serde(rename = "options")]
    _options: Option<Unsupported>,
}

words! {
    /// `tls.mode`.
    TlsMode { "Terminate" => Terminate, }
    unsupported { "Passthrough" }
}

/// `tls.certificateRefs[]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct SecretReference {
    #[serde(default)]
    pub(crate) group: String,
    pub(crate) kind: Option<String>,
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
}

/// `allowedRoutes`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct AllowedRoutes {
    #[serde(default)]
    pub(crate) namespaces: RouteNamespaces,
    #[serde(default)]
    pub(crate) kinds: Vec<RouteGroupKind>,
}

/// `allowedRoutes.namespaces`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct RouteNamespaces {
    pub(crate) from: Option<FromNamespaces>,
    pub(crate) selector: Option<LabelSelector>,
}

words! {
    /// `allowedRoutes.namespaces.from`.
    FromNamespaces { "All" => All, "Same" => Same, "Selector" => Selector, "None" => None, }
    unsupported {}
}

/// `allowedRoutes.kinds[]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct RouteGroupKind {
    pub(crate) group: Option<String>,
    pub(crate) kind: String,
}

/// `spec.addresses[]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Address {
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    pub(crate) value: Option<String>,
}

/// `spec.infrastructure`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Infrastructure {
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(rename = "annotations")]
    _annotations: Option<Unsupported>,
    #[serde(rename = "parametersRef")]
    _parameters_ref: Option<Unsupported>,
}
