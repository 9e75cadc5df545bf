//! `gateway.networking.k8s.io/v1 GatewayClass`.

use serde::Deserialize;

use super::{Ignored, Manifest, Unsupported};

/// A GatewayClass. Every Gateway that a bundle holds is ours, whatever its class.
pub(crate) type GatewayClass = Manifest<GatewayClassSpec>;

/// `spec`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct GatewayClassSpec {
    #[serde(rename = "controllerName")]
    _controller_name: String,
    #[serde(rename = "description")]
    _description: Ignored,
    #[serde(rename = "parametersRef")]
    _parameters_ref: Option<Unsupported>,
}
