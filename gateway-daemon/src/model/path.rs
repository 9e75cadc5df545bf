//! Counted paths: every path pattern that a configuration names, whatever kind of object names
//! it. Patterns that mean the same are one counted path.

use std::fmt;
use std::sync::Arc;

use super::policy::{PathPattern, Pattern};
use super::route::PathMatch;
use super::template::Template;

/// A configured path pattern, as verdicts are counted under it. Prints as its name row.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum CountedPath {
    /// The path itself.
    Exact(Arc<str>),
    /// Whole path elements, kept without the trailing slash: the root is the empty string.
    Elements(Arc<str>),
    /// Paths that begin with this text.
    TextPrefix(Arc<str>),
    /// Paths that end with this text.
    Suffix(Arc<str>),
    /// A template.
    Template(Template),
}

impl CountedPath {
    /// Every path: `PathPrefix /`, `*` and `/*` all mean this.
    fn all() -> Self {
        Self::Elements("".into())
    }

    /// Whether the normalised path matches.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *path,
            Self::Elements(prefix) => path
                .strip_prefix(&**prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::TextPrefix(prefix) => path.starts_with(&**prefix),
            Self::Suffix(suffix) => path.ends_with(&**suffix),
            Self::Template(template) => template.matches(path),
        }
    }
}

impl From<&PathMatch> for CountedPath {
    fn from(path: &PathMatch) -> Self {
        match path {
            PathMatch::Exact(path) => Self::Exact(Arc::clone(path)),
            PathMatch::Prefix(path) => Self::Elements(Arc::clone(path)),
        }
    }
}

impl From<&PathPattern> for CountedPath {
    fn from(pattern: &PathPattern) -> Self {
        let prefix = |text: &Arc<str>| match &**text {
            "" | "/" => Self::all(),
            _ => Self::TextPrefix(Arc::clone(text)),
        };
        match pattern {
            PathPattern::Text(Pattern::Exact(path)) => Self::Exact(Arc::clone(path)),
            PathPattern::Text(Pattern::Prefix(path)) => prefix(path),
            PathPattern::Text(Pattern::Suffix(path)) => Self::Suffix(Arc::clone(path)),
            PathPattern::Text(Pattern::Present) => Self::all(),
            PathPattern::Template(text) => match text.strip_suffix("{**}") {
                // `/a/{**}` is `/a/*`.
                Some(literal) if !literal.contains('{') => prefix(&literal.into()),
                _ => Self::Template(Template::compile(Arc::clone(text))),
            },
        }
    }
}

impl fmt::Display for CountedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "Exact {path}"),
            Self::Elements(path) if path.is_empty() => f.write_str("PathPrefix /"),
            Self::Elements(path) => write!(f, "PathPrefix {path}"),
            Self::TextPrefix(path) => write!(f, "{path}*"),
            Self::Suffix(path) => write!(f, "*{path}"),
            Self::Template(template) => template.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> CountedPath {
        let pattern = if text.contains('{') {
            PathPattern::Template(text.into())
        } else {
            PathPattern::Text(Pattern::parse(text))
        };
        CountedPath::from(&pattern)
    }

    #[test]
    fn patterns_that_mean_the_same_are_one() {
        let route = |path: PathMatch| CountedPath::from(&path);
        assert_eq!(policy("/productpage"), route(PathMatch::Exact("/productpage".into())));
        for every in ["*", "/*", "/{**}"] {
            assert_eq!(policy(every), route(PathMatch::Prefix("".into())), "{every}");
        }
        assert_eq!(policy("/a/{**}"), policy("/a/*"));
        assert_ne!(policy("/a*"), route(PathMatch::Prefix("/a".into())));
    }

    #[test]
    fn names_are_what_the_configuration_says() {
        let rows = [
            (policy("/productpage"), "Exact /productpage"),
            (CountedPath::Elements("/api".into()), "PathPrefix /api"),
            (CountedPath::all(), "PathPrefix /"),
            (policy("/api/*"), "/api/*"),
            (policy("*/secret"), "*/secret"),
            (policy("/x/{*}/y"), "/x/{*}/y"),
        ];
        for (path, name) in rows {
            assert_eq!(path.to_string(), name);
        }
    }
}
