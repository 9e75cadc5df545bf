//! Path matches of one hostname to values.

use std::sync::Arc;

use crate::model::lookup::Lookup;
use crate::model::route::PathMatch;
use crate::model::trie::Trie;

/// A value per path match; of equal matches the first one added stays.
pub(super) struct PathMap<T> {
    exact: Lookup<Arc<str>, T>,
    prefix: Trie<T>,
}

impl<T> Default for PathMap<T> {
    fn default() -> Self {
        Self { exact: Lookup::default(), prefix: Trie::default() }
    }
}

impl<T> PathMap<T> {
    /// Adds a match.
    pub(super) fn add(&mut self, path: &PathMatch, value: T) {
        match path {
            PathMatch::Exact(path) => {
                self.exact.entry(Arc::clone(path)).or_insert(value);
            }
            PathMatch::Prefix(path) => {
                self.prefix.entry_with(path.bytes(), || value);
            }
        }
    }

    /// The value of the best match: exact, else the longest prefix of whole path elements.
    pub(super) fn find(&self, path: &str) -> Option<&T> {
        self.exact
            .get(path)
            .or_else(|| longest_elements(&self.prefix, path).map(|(_, value)| value))
    }
}

/// The longest stored text that is `path` or a prefix of it before a slash, with its length.
pub(super) fn longest_elements<'t, T>(trie: &'t Trie<T>, path: &str) -> Option<(usize, &'t T)> {
    let mut best = None;
    trie.prefixes_of(path.as_bytes(), |length, value| {
        if matches!(path.as_bytes().get(length), None | Some(b'/')) {
            best = Some((length, value));
        }
    });
    best
}
