//! `security.istio.io/v1 AuthorizationPolicy`.

use serde::Deserialize;

use super::selector::{PolicyTargetReference, WorkloadSelector};
use super::{Manifest, Unsupported, words};

/// An AuthorizationPolicy; one without `spec` is an ALLOW policy without rules.
pub(crate) type AuthorizationPolicy = Manifest<Option<AuthorizationPolicySpec>>;

/// `spec`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct AuthorizationPolicySpec {
    pub(crate) selector: Option<WorkloadSelector>,
    pub(crate) target_ref: Option<PolicyTargetReference>,
    #[serde(default)]
    pub(crate) target_refs: Vec<PolicyTargetReference>,
    #[serde(default)]
    pub(crate) rules: Vec<Rule>,
    pub(crate) action: Option<Action>,
    pub(crate) provider: Option<Provider>,
}

/// `spec.provider`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Provider {
    pub(crate) name: String,
}

words! {
    /// `spec.action`.
    Action { "ALLOW" => Allow, "DENY" => Deny, "AUDIT" => Audit, "CUSTOM" => Custom, }
    unsupported {}
}

/// `spec.rules[]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Rule {
    pub(crate) from: Option<Vec<From>>,
    pub(crate) to: Option<Vec<To>>,
    pub(crate) when: Option<Vec<Condition>>,
}

/// `from[]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct From {
    pub(crate) source: Source,
}

/// `to[]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct To {
    pub(crate) operation: Operation,
}

/// A list whose absence and emptiness are told apart: an empty one is refused.
pub(crate) type Texts = Option<Vec<String>>;

/// `from[].source`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Source {
    pub(crate) principals: Texts,
    pub(crate) not_principals: Texts,
    pub(crate) request_principals: Texts,
    pub(crate) not_request_principals: Texts,
    pub(crate) namespaces: Texts,
    pub(crate) not_namespaces: Texts,
    pub(crate) service_accounts: Texts,
    pub(crate) not_service_accounts: Texts,
    pub(crate) ip_blocks: Texts,
    pub(crate) not_ip_blocks: Texts,
    pub(crate) remote_ip_blocks: Texts,
    pub(crate) not_remote_ip_blocks: Texts,
    #[serde(rename = "trustDomains")]
    _trust_domains: Option<Unsupported>,
    #[serde(rename = "notTrustDomains")]
    _not_trust_domains: Option<Unsupported>,
}

/// `to[].operation`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Operation {
    pub(crate) hosts: Texts,
    pub(crate) not_hosts: Texts,
    pub(crate) ports: Texts,
    pub(crate) not_ports: Texts,
    pub(crate) methods: Texts,
    pub(crate) not_methods: Texts,
    pub(crate) paths: Texts,
    pub(crate) not_paths: Texts,
}

/// `when[]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Condition {
    pub(crate) key: String,
    pub(crate) values: Texts,
    pub(crate) not_values: Texts,
}
