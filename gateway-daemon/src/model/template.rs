//! Path templates of policies: `{*}` is one segment, `{**}` any rest.

use std::fmt;
use std::sync::Arc;

/// A compiled path template.
#[derive(Clone, Debug)]
pub struct Template {
    text: Arc<str>,
    parts: Box<[Part]>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    /// This segment.
    Literal(Box<str>),
    /// One segment that is not empty.
    One,
    /// Any text, slashes included.
    Rest,
}

impl Template {
    /// Compiles a template that is known to be well-formed: operators are whole segments.
    pub fn compile(text: Arc<str>) -> Self {
        let part = |segment: &str| match segment {
            "{*}" => Part::One,
            "{**}" => Part::Rest,
            literal => Part::Literal(literal.into()),
        };
        let parts = text.split('/').map(part).collect();
        Self { text, parts }
    }

    /// As configured.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The text before the first operator: every path that matches begins with it.
    pub fn literal_prefix(&self) -> &str {
        self.text.split_once('{').map_or(&*self.text, |(prefix, _)| prefix)
    }

    /// Whether the normalised path matches.
    ///
    /// `{**}` takes at least one segment, which may be empty: `/any/{**}/end` matches `/any//end`.
    /// Takes as few as it can and comes back for more, to the last `{**}` only: an earlier one
    /// has nothing to gain from taking more.
    pub fn matches(&self, path: &str) -> bool {
        let mut parts = &self.parts[..];
        let mut segments = path.split('/');
        let mut retry: Option<(&[Part], std::str::Split<'_, char>)> = None;
        loop {
            let step = match (parts.split_first(), segments.next()) {
                (None, None) => return true,
                (Some((Part::Rest, rest)), Some(_)) => {
                    retry = Some((rest, segments.clone()));
                    Some(rest)
                }
                (Some((Part::One, rest)), Some(segment)) => (!segment.is_empty()).then_some(rest),
                (Some((Part::Literal(literal), rest)), Some(segment)) => {
                    (**literal == *segment).then_some(rest)
                }
                (None, Some(_)) => None,
                (Some(_), None) => return false,
            };
            parts = match (step, &mut retry) {
                (Some(rest), _) => rest,
                (None, Some((rest, from))) => {
                    if from.next().is_none() {
                        return false;
                    }
                    segments = from.clone();
                    rest
                }
                (None, None) => return false,
            };
        }
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Template {}

impl std::hash::Hash for Template {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_take_what_istio_says() {
        let rows = [
            ("/foo/{*}/baz", "/foo/bar/baz", true),
            ("/foo/{*}/baz", "/foo//baz", false),
            ("/foo/{*}/baz", "/foo/a/b/baz", false),
            ("/foo/{*}/baz", "/foo/a%2fb/baz", true),
            ("/any/{**}/end", "/any/x/y/end", true),
            ("/any/{**}/end", "/any//end", true),
            ("/any/{**}/end", "/any/end", false),
            ("/any/{**}/end", "/any/end/end", true),
            ("/any/{**}/end", "/any/x/end/y", false),
            ("/tail/{**}", "/tail/", true),
            ("/tail/{**}", "/tail/x/y", true),
            ("/tail/{**}", "/tail", false),
            ("/a/{**}/b/{*}", "/a/b/b/c", true),
            ("/a/{**}/b/{*}", "/a/x/b/b/c", true),
            ("/a/{**}/b/{**}/c", "/a/1/b/b/2/c", true),
            ("/a/{**}/b/{**}/c", "/a/b/b/c", false),
            ("/{**}", "/", true),
        ];
        for (template, path, expected) in rows {
            let template = Template::compile(template.into());
            assert_eq!(template.matches(path), expected, "{template} against {path}");
        }
    }
}
