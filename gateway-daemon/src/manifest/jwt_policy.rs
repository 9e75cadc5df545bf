//! `policy.gateway.internal/v1alpha1 JWTPolicy`: what Istio's RequestAuthentication cannot say.
//! Our own kind; `docs/jwt-policy.md` is its schema.

use serde::Deserialize;

use super::selector::PolicyTargetReference;
use super::{Manifest, words};

/// A JWTPolicy.
pub(crate) type JwtPolicy = Manifest<JwtPolicySpec>;

/// `spec`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct JwtPolicySpec {
    pub(crate) target_refs: Vec<PolicyTargetReference>,
    #[serde(default)]
    pub(crate) issuers: Vec<IssuerSettings>,
    #[serde(default)]
    pub(crate) ignore_token_paths: Vec<String>,
    pub(crate) missing_token: Option<MissingToken>,
    pub(crate) denied: Option<Denied>,
    pub(crate) insufficient_scope: Option<InsufficientScope>,
}

/// `spec.missingToken`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct MissingToken {
    pub(crate) status: i64,
}

/// `spec.denied`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Denied {
    pub(crate) body: String,
    pub(crate) content_type: Option<String>,
}

/// `spec.insufficientScope`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct InsufficientScope {
    pub(crate) challenge: Challenge,
}

words! {
    /// `spec.insufficientScope.challenge`.
    Challenge {
        "None" => Silent,
        "Error" => Error,
        "Scope" => Scope,
    }
    unsupported {}
}

/// `spec.issuers[]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct IssuerSettings {
    pub(crate) issuer: String,
    pub(crate) clock_skew: Option<String>,
    #[serde(default)]
    pub(crate) required_claims: Vec<String>,
    pub(crate) claim_format: Option<ClaimFormat>,
    #[serde(default)]
    pub(crate) keys: KeySettings,
}

words! {
    /// `spec.issuers[].claimFormat`.
    ClaimFormat {
        "Envoy" => Envoy,
        "JSON" => Json,
        "CommaList" => CommaList,
    }
    unsupported {}
}

/// `spec.issuers[].keys`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct KeySettings {
    pub(crate) file: Option<String>,
    pub(crate) ca_certificates: Option<String>,
    pub(crate) client_certificate_ref: Option<LocalSecretReference>,
    pub(crate) proxy: Option<String>,
    pub(crate) min_refresh: Option<String>,
    pub(crate) max_refresh: Option<String>,
    pub(crate) unknown_key_window: Option<String>,
    #[serde(default)]
    pub(crate) allow_private_addresses: bool,
}

/// `spec.issuers[].keys.clientCertificateRef`: a Secret in the policy's own namespace.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct LocalSecretReference {
    pub(crate) name: String,
}
