//! Lists of patterns, compiled: whether any of them matches, at a cost that does not grow with
//! their number.

use std::collections::HashSet;

use crate::model::path::CountedPath;
use crate::model::policy::{Constraint, PathPattern, Pattern};
use crate::model::template::Template;
use crate::model::trie::Trie;

/// What `*` alone asks of a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Presence {
    /// That it is there.
    Any,
    /// One character at least and no line feed: Istio's `.+` for claims and handshake names.
    Filled,
}

/// String patterns of which one has to match.
pub(super) struct PatternSet {
    exact: HashSet<Box<[u8]>>,
    prefix: Trie<()>,
    suffix: Trie<()>,
    present: Option<Presence>,
}

impl PatternSet {
    /// Compiles patterns.
    pub(super) fn new<'p>(
        patterns: impl IntoIterator<Item = &'p Pattern>,
        presence: Presence,
    ) -> Self {
        Self::mapped(patterns, presence, ToOwned::to_owned)
    }

    /// Compiles patterns that are compared with texts in lower case.
    pub(super) fn lowercase<'p>(patterns: impl IntoIterator<Item = &'p Pattern>) -> Self {
        Self::mapped(patterns, Presence::Any, str::to_ascii_lowercase)
    }

    fn mapped<'p>(
        patterns: impl IntoIterator<Item = &'p Pattern>,
        presence: Presence,
        map: fn(&str) -> String,
    ) -> Self {
        let mut set = Self {
            exact: HashSet::new(),
            prefix: Trie::default(),
            suffix: Trie::default(),
            present: None,
        };
        for pattern in patterns {
            match pattern {
                Pattern::Exact(text) => {
                    set.exact.insert(map(text).into_bytes().into());
                }
                Pattern::Prefix(text) => set.prefix.insert(map(text).bytes()),
                Pattern::Suffix(text) => set.suffix.insert(map(text).bytes().rev()),
                Pattern::Present => set.present = Some(presence),
            }
        }
        set
    }

    /// Whether some pattern matches.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let present = match self.present {
            None => false,
            Some(Presence::Any) => true,
            Some(Presence::Filled) => is_filled(text),
        };
        present
            || (!self.exact.is_empty() && self.exact.contains(text))
            || self.prefix.has_prefix_of(text)
            || self.suffix.has_suffix_of(text)
    }
}

/// Istio's `.+`.
pub(super) fn is_filled(text: &[u8]) -> bool {
    !text.is_empty() && !text.contains(&b'\n')
}

/// A constraint on texts, compiled.
pub(super) struct TextConstraint {
    /// None: no constraint.
    values: Option<PatternSet>,
    not_values: Option<PatternSet>,
}

impl TextConstraint {
    /// Compiles a constraint with `set` for its lists.
    pub(super) fn new(
        constraint: &Constraint<Pattern>,
        set: impl Fn(&[Pattern]) -> PatternSet,
    ) -> Self {
        let list = |patterns: &[Pattern]| (!patterns.is_empty()).then(|| set(patterns));
        Self { values: list(&constraint.values), not_values: list(&constraint.not_values) }
    }

    /// Whether one text, which is there, satisfies the constraint.
    pub(super) fn admits(&self, text: &[u8]) -> bool {
        self.values.as_ref().is_none_or(|set| set.matches(text)) && self.excludes_none(text)
    }

    /// The same where the values are known to match.
    pub(super) fn excludes_none(&self, text: &[u8]) -> bool {
        !self.not_values.as_ref().is_some_and(|set| set.matches(text))
    }

    /// Whether several texts satisfy the constraint: one is enough to match, and one is enough to
    /// be excluded. `each` hands every text to what it is given until that says stop.
    pub(super) fn admits_some(&self, each: impl Fn(&mut dyn FnMut(&[u8]) -> bool) -> bool) -> bool {
        let hit = |set: &PatternSet| each(&mut |text: &[u8]| set.matches(text));
        self.values.as_ref().is_none_or(hit) && !self.not_values.as_ref().is_some_and(hit)
    }

    /// Whether it holds where there is no text at all.
    pub(super) fn admits_nothing(&self) -> bool {
        self.values.is_none()
    }
}

/// Path patterns of which one has to match.
pub(super) struct PathSet {
    texts: PatternSet,
    elements: Trie<()>,
    /// By literal beginning.
    templates: Trie<Vec<Template>>,
}

impl PathSet {
    /// Compiles patterns; none if there are none.
    pub(super) fn new(patterns: &[PathPattern]) -> Option<Self> {
        let mut texts = Vec::new();
        let mut elements = Trie::default();
        let mut templates: Trie<Vec<Template>> = Trie::default();
        for pattern in patterns {
            match CountedPath::from(pattern) {
                CountedPath::Exact(path) => texts.push(Pattern::Exact(path)),
                CountedPath::TextPrefix(path) => texts.push(Pattern::Prefix(path)),
                CountedPath::Suffix(path) => texts.push(Pattern::Suffix(path)),
                CountedPath::Elements(path) => elements.insert(path.bytes()),
                CountedPath::Template(template) => {
                    let beginning = template.literal_prefix().to_owned();
                    templates.entry_with(beginning.bytes(), Vec::new).push(template);
                }
            }
        }
        let texts = PatternSet::new(&texts, Presence::Any);
        (!patterns.is_empty()).then_some(Self { texts, elements, templates })
    }

    /// Whether some pattern matches the path.
    pub(super) fn matches(&self, path: &str) -> bool {
        let by_template = || {
            let mut found = false;
            self.templates.prefixes_of(path.as_bytes(), |_, templates| {
                found = found || templates.iter().any(|template| template.matches(path));
            });
            found
        };
        let by_elements = || {
            let mut found = false;
            self.elements.prefixes_of(path.as_bytes(), |length, ()| {
                found |= matches!(path.as_bytes().get(length), None | Some(b'/'));
            });
            found
        };
        self.texts.matches(path.as_bytes()) || by_elements() || by_template()
    }
}
