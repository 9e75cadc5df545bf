//! Counted paths: which slot a request counts under.

use std::cmp::Reverse;
use std::sync::Arc;

use gateway_common::path::PathSlot;

use crate::model::lookup::Lookup;
use crate::model::path::CountedPath;
use crate::model::template::Template;
use crate::model::trie::Trie;

/// Every counted path of a snapshot, compiled.
///
/// The most specific pattern wins: an exact path; else the longest literal beginning, of a
/// template, whole elements or text; else the longest ending.
#[derive(Default)]
pub struct PathIndex {
    exact: Lookup<Arc<str>, PathSlot>,
    prefix: Trie<Beginnings>,
    suffix: Trie<PathSlot>,
    names: Lookup<PathSlot, Arc<str>>,
}

/// Patterns that share a literal beginning, in order of preference.
#[derive(Clone, Debug, Default)]
struct Beginnings {
    /// Longest text first.
    templates: Vec<(Template, PathSlot)>,
    elements: Option<PathSlot>,
    text: Option<PathSlot>,
}

impl PathIndex {
    /// Compiles counted paths with their slots; of equal paths the first one stays.
    pub fn compile(paths: Vec<(CountedPath, PathSlot)>) -> Self {
        let mut index = Self::default();
        for (path, slot) in paths {
            index.add(&path, slot);
            index.names.entry(slot).or_insert_with(|| path.to_string().into());
        }
        index
    }

    fn add(&mut self, path: &CountedPath, slot: PathSlot) {
        match path {
            CountedPath::Exact(path) => {
                self.exact.entry(Arc::clone(path)).or_insert(slot);
            }
            CountedPath::Elements(path) => {
                self.beginning(path).elements.get_or_insert(slot);
            }
            CountedPath::TextPrefix(path) => {
                self.beginning(path).text.get_or_insert(slot);
            }
            CountedPath::Template(template) => {
                let templates = &mut self.beginning(template.literal_prefix()).templates;
                if templates.iter().all(|(known, _)| known != template) {
                    templates.push((template.clone(), slot));
                    templates.sort_by_key(|(template, _)| Reverse(template.text().len()));
                }
            }
            CountedPath::Suffix(path) => {
                self.suffix.entry_with(path.bytes().rev(), || slot);
            }
        }
    }

    fn beginning(&mut self, text: &str) -> &mut Beginnings {
        self.prefix.entry_with(text.bytes(), Beginnings::default)
    }

    /// The name of a slot's pattern; none for *no path*.
    pub fn name(&self, slot: PathSlot) -> Option<&str> {
        self.names.get(&slot).map(|name| &**name)
    }

    /// The slot of the most specific pattern that the normalised path matches.
    pub fn slot(&self, path: &str) -> PathSlot {
        let exact = self.exact.get(path).copied();
        exact.or_else(|| self.by_beginning(path)).or_else(|| self.by_end(path)).unwrap_or_default()
    }

    fn by_beginning(&self, path: &str) -> Option<PathSlot> {
        let mut best = None;
        self.prefix.prefixes_of(path.as_bytes(), |length, beginnings| {
            let whole = matches!(path.as_bytes().get(length), None | Some(b'/'));
            let template = beginnings.templates.iter().find(|(t, _)| t.matches(path));
            let elements = || beginnings.elements.filter(|_| whole);
            let here = template.map(|(_, slot)| *slot).or_else(elements).or(beginnings.text);
            best = here.or(best);
        });
        best
    }

    fn by_end(&self, path: &str) -> Option<PathSlot> {
        let mut best = None;
        self.suffix.suffixes_of(path.as_bytes(), |_, slot| best = Some(*slot));
        best
    }
}
