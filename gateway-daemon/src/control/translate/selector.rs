//! Label selectors, and the namespaces whose labels they look at.

use std::collections::{BTreeMap, HashMap};

use super::super::bundle::Bundle;
use super::super::conditions::ObjectReport;
use crate::manifest::selector::{LabelOperator, LabelSelector};

/// The label that Kubernetes gives every namespace: its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Labels of the namespaces of a bundle.
pub(super) struct Namespaces<'b>(HashMap<&'b str, &'b BTreeMap<String, String>>);

impl<'b> Namespaces<'b> {
    /// Of a bundle.
    pub(super) fn new(bundle: &'b Bundle, reports: &mut Vec<ObjectReport>) -> Self {
        super::whole_objects(&bundle.namespaces, reports);
        Self(
            bundle
                .namespaces
                .iter()
                .map(|namespace| (&*namespace.object.name, &namespace.manifest.metadata.labels))
                .collect(),
        )
    }

    /// Whether `selector` selects `namespace`. One whose object is not in the bundle has no label
    /// but its name.
    pub(super) fn selects(&self, selector: &LabelSelector, namespace: &str) -> bool {
        let labels = self.0.get(namespace);
        let label = |key: &str| match labels.and_then(|labels| labels.get(key)) {
            Some(value) => Some(value.as_str()),
            None if key == NAME_LABEL => Some(namespace),
            None => None,
        };
        selector.match_labels.iter().all(|(key, value)| label(key) == Some(value.as_str()))
            && selector.match_expressions.iter().all(|expression| {
                let value = label(&expression.key);
                let listed =
                    value.is_some_and(|value| expression.values.iter().any(|v| v == value));
                match expression.operator {
                    LabelOperator::In => listed,
                    LabelOperator::NotIn => !listed,
                    LabelOperator::Exists => value.is_some(),
                    LabelOperator::DoesNotExist => value.is_none(),
                }
            })
    }
}
