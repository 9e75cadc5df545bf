//! Label selectors: Kubernetes' with expressions, and Istio's without.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::words;

/// Kubernetes `LabelSelector`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct LabelSelector {
    #[serde(default)]
    pub(crate) match_labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) match_expressions: Vec<LabelExpression>,
}

/// One entry of `matchExpressions`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct LabelExpression {
    pub(crate) key: String,
    pub(crate) operator: LabelOperator,
    #[serde(default)]
    pub(crate) values: Vec<String>,
}

words! {
    /// Operator of a label expression.
    LabelOperator {
        "In" => In,
        "NotIn" => NotIn,
        "Exists" => Exists,
        "DoesNotExist" => DoesNotExist,
    }
    unsupported {}
}

/// Istio `WorkloadSelector`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct WorkloadSelector {
    #[serde(default)]
    pub(crate) match_labels: BTreeMap<String, String>,
}

/// Istio `PolicyTargetReference`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct PolicyTargetReference {
    #[serde(default)]
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
}
