//! Field paths such as `spec.rules[0].matches[1].path`: how errors and conditions name a field.

use std::fmt;

use super::yaml::{Node, Value};

/// One step of a path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// A member of a mapping.
    Key(Box<str>),
    /// An element of a list.
    Index(usize),
}

/// A path from an object's root to a field.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FieldPath(Vec<Step>);

impl FieldPath {
    /// Of the given steps.
    pub(super) fn from_steps(steps: impl IntoIterator<Item = Step>) -> Self {
        Self(steps.into_iter().collect())
    }

    /// A member, or a dotted walk of members, of an object.
    pub(super) fn of(dotted: &str) -> Self {
        Self::default().key(dotted)
    }

    /// A member, or a dotted walk of members, of this field.
    #[must_use]
    pub(super) fn key(&self, dotted: &str) -> Self {
        let mut steps = self.0.clone();
        steps.extend(dotted.split('.').map(|key| Step::Key(key.into())));
        Self(steps)
    }

    /// A member whose name may hold dots, such as an annotation.
    #[must_use]
    pub(super) fn name(&self, name: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(name.into()));
        Self(steps)
    }

    /// An element of this list.
    #[must_use]
    pub(super) fn index(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        Self(steps)
    }

    /// Whether it names the object itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The node at this path.
    pub(super) fn find<'n>(&self, root: &'n Node) -> Option<&'n Node> {
        self.0.iter().try_fold(root, step)
    }

    /// The line of the node at this path, or of the nearest field around it that exists.
    pub(super) fn line(&self, root: &Node) -> usize {
        let mut node = root;
        let mut line = root.line;
        for step in &self.0 {
            match (&node.value, step) {
                (Value::Map(members), Step::Key(key)) => {
                    let Some(member) = members.iter().find(|m| m.key == *key) else { break };
                    (node, line) = (&member.node, member.line);
                }
                (Value::List(nodes), Step::Index(index)) => {
                    let Some(element) = nodes.get(*index) else { break };
                    (node, line) = (element, element.line);
                }
                _ => break,
            }
        }
        line
    }
}

fn step<'n>(node: &'n Node, step: &Step) -> Option<&'n Node> {
    match (&node.value, step) {
        (Value::Map(_), Step::Key(key)) => node.get(key),
        (Value::List(nodes), Step::Index(index)) => nodes.get(*index),
        _ => None,
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if key.contains(['.', '/', '[']) => write!(f, "[{key:?}]")?,
                Step::Key(key) if position == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    #[test]
    fn paths_print_as_people_write_them() {
        let path = FieldPath::of("spec.rules").index(0).key("matches").index(1).key("path.value");
        assert_eq!(path.to_string(), "spec.rules[0].matches[1].path.value");
        let path = FieldPath::of("metadata.annotations").name("istio.io/dry-run");
        assert_eq!(path.to_string(), "metadata.annotations[\"istio.io/dry-run\"]");
    }

    #[test]
    fn lines_are_of_the_nearest_field_that_is_there() {
        let (documents, _) = yaml::read("a:\n  b:\n  - c: 1\n");
        let rows = [("a", 1), ("a.b", 2), ("a.x", 1), ("x", 1)];
        for (path, line) in rows {
            assert_eq!(FieldPath::of(path).line(&documents[0]), line, "{path}");
        }
        let list = FieldPath::of("a.b");
        assert_eq!(list.index(0).key("c").line(&documents[0]), 3);
        assert_eq!(list.index(7).key("c").line(&documents[0]), 2);
    }
}
