//! `security.istio.io/v1 RequestAuthentication`.

use serde::Deserialize;

use super::Manifest;
use super::selector::{PolicyTargetReference, WorkloadSelector};

/// A RequestAuthentication; one without `spec` has no rules.
pub(crate) type RequestAuthentication = Manifest<Option<RequestAuthenticationSpec>>;

/// `spec`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct RequestAuthenticationSpec {
    pub(crate) selector: Option<WorkloadSelector>,
    pub(crate) target_ref: Option<PolicyTargetReference>,
    #[serde(default)]
    pub(crate) target_refs: Vec<PolicyTargetReference>,
    #[serde(default)]
    pub(crate) jwt_rules: Vec<JwtRule>,
}

/// `spec.jwtRules[]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct JwtRule {
    pub(crate) issuer: String,
    #[serde(default)]
    pub(crate) audiences: Vec<String>,
    #[serde(alias = "jwks_uri")]
    pub(crate) jwks_uri: Option<String>,
    pub(crate) jwks: Option<String>,
    #[serde(default)]
    pub(crate) from_headers: Vec<JwtHeader>,
    #[serde(default)]
    pub(crate) from_params: Vec<String>,
    #[serde(default)]
    pub(crate) from_cookies: Vec<String>,
    pub(crate) output_payload_to_header: Option<String>,
    #[serde(default)]
    pub(crate) forward_original_token: bool,
    #[serde(default)]
    pub(crate) output_claim_to_headers: Vec<ClaimToHeader>,
    #[serde(default)]
    pub(crate) space_delimited_claims: Vec<String>,
    pub(crate) timeout: Option<String>,
}

/// `spec.jwtRules[].fromHeaders[]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct JwtHeader {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) prefix: String,
}

/// `spec.jwtRules[].outputClaimToHeaders[]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ClaimToHeader {
    pub(crate) header: String,
    pub(crate) claim: String,
}
