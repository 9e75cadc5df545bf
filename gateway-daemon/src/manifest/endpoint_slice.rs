//! `discovery.k8s.io/v1 EndpointSlice`.

use serde::Deserialize;

use super::meta::ObjectMeta;
use super::service::TransportProtocol;
use super::{Ignored, Port, words};

/// An EndpointSlice.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct EndpointSlice {
    #[serde(rename = "apiVersion")]
    _api_version: Ignored,
    #[serde(rename = "kind")]
    _kind: Ignored,
    pub(crate) metadata: ObjectMeta,
    pub(crate) address_type: AddressType,
    #[serde(default)]
    pub(crate) endpoints: Vec<Endpoint>,
    #[serde(default)]
    pub(crate) ports: Vec<EndpointPort>,
}

words! {
    /// `addressType`.
    AddressType { "IPv4" => V4, "IPv6" => V6, }
    unsupported { "FQDN" }
}

/// `endpoints[]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Endpoint {
    #[serde(default)]
    pub(crate) addresses: Vec<String>,
    #[serde(default)]
    pub(crate) conditions: EndpointConditions,
    #[serde(rename = "deprecatedTopology")]
    _deprecated_topology: Ignored,
    #[serde(rename = "hints")]
    _hints: Ignored,
    #[serde(rename = "hostname")]
    _hostname: Ignored,
    #[serde(rename = "nodeName")]
    _node_name: Ignored,
    #[serde(rename = "targetRef")]
    _target_ref: Ignored,
    #[serde(rename = "zone")]
    _zone: Ignored,
}

/// `endpoints[].conditions`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct EndpointConditions {
    /// Not given means ready.
    pub(crate) ready: Option<bool>,
    #[serde(rename = "serving")]
    _serving: Ignored,
    #[serde(rename = "terminating")]
    _terminating: Ignored,
}

/// `ports[]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct EndpointPort {
    #[serde(default)]
    pub(crate) name: String,
    pub(crate) port: Option<Port>,
    pub(crate) protocol: Option<TransportProtocol>,
    #[serde(rename = "appProtocol")]
    _app_protocol: Ignored,
}
