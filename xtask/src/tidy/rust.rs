//! Just enough of Rust's grammar for tidy: words and the paths they form, without comments,
//! strings and characters.

/// A word or a mark of a source file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// An identifier or keyword; a raw one without its `r#`.
    Word(&'a str),
    /// `::`
    Colons,
    /// Any other single character that is neither blank nor part of a literal.
    Mark(char),
}

/// A token and the line it stands on, counted from 1.
pub(super) type Located<'a> = (Token<'a>, usize);

/// Splits a source file.
pub(super) fn tokens(text: &str) -> Vec<Located<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = string(rest) {
            length
        } else if first == '\'' {
            character(rest)
        } else if first.is_alphanumeric() || first == '_' {
            let raw = if rest.starts_with("r#") { 2 } else { 0 };
            let word = &rest[raw..];
            let end = word.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(word.len());
            if !first.is_numeric() {
                tokens.push((Token::Word(&word[..end]), line));
            }
            raw + end
        } else if rest.starts_with("::") {
            tokens.push((Token::Colons, line));
            2
        } else {
            if !first.is_whitespace() {
                tokens.push((Token::Mark(first), line));
            }
            first.len_utf8()
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// The length of a block comment, nested ones included.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of a string literal of any kind, if one starts here.
fn string(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        let rest = text.strip_prefix(prefix).unwrap_or_default();
        let rest = if prefix.ends_with('r') { rest.trim_start_matches('#') } else { rest };
        text.starts_with(prefix) && rest.starts_with('"')
    })?;
    let after = &text[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = after.len() - after.trim_start_matches('#').len();
        let end = format!("\"{}", &after[..hashes]);
        let body = &after[hashes + 1..];
        let length = body.find(&end).map_or(body.len(), |at| at + end.len());
        return Some(prefix.len() + hashes + 1 + length);
    }
    let mut escaped = false;
    for (at, character) in after.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(prefix.len() + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// The length of a character literal, or of the mark of a lifetime.
fn character(text: &str) -> usize {
    let body = &text[1..];
    if let Some(escape) = body.strip_prefix('\\') {
        let skipped = escape.chars().next().map_or(0, char::len_utf8);
        let end = escape[skipped..].find('\'').map_or(0, |at| at + 1);
        return 2 + skipped + end;
    }
    let first = body.chars().next().map_or(0, char::len_utf8);
    if body[first..].starts_with('\'') { first + 2 } else { 1 }
}

/// Every path that is written out, groups of `use` resolved: `use a::{b, c::d}` gives `a::b` and
/// `a::c::d`.
pub(super) fn paths<'a>(tokens: &[Located<'a>]) -> Vec<(Vec<&'a str>, usize)> {
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at = match tokens[at].0 {
            Token::Word(_) => path(tokens, at, &[], &mut paths),
            _ => at + 1,
        };
    }
    paths
}

/// Reads one path, or tree of paths, and returns where it ends.
fn path<'a>(
    tokens: &[Located<'a>],
    start: usize,
    before: &[&'a str],
    paths: &mut Vec<(Vec<&'a str>, usize)>,
) -> usize {
    let mut words = before.to_vec();
    let line = tokens[start].1;
    let mut at = start;
    while let Some((Token::Word(word), _)) = tokens.get(at) {
        words.push(word);
        at += 1;
        if tokens.get(at).map(|token| token.0) != Some(Token::Colons) {
            break;
        }
        at += 1;
        if tokens.get(at).map(|token| token.0) == Some(Token::Mark('{')) {
            return group(tokens, at + 1, &words, paths);
        }
    }
    paths.push((words, line));
    at.max(start + 1)
}

fn group<'a>(
    tokens: &[Located<'a>],
    start: usize,
    before: &[&'a str],
    paths: &mut Vec<(Vec<&'a str>, usize)>,
) -> usize {
    let mut at = start;
    while let Some((token, _)) = tokens.get(at) {
        at = match token {
            Token::Mark('}') => return at + 1,
            Token::Word(_) => path(tokens, at, before, paths),
            _ => at + 1,
        };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        let words = tokens(text).into_iter().filter_map(|(token, _)| match token {
            Token::Word(word) => Some(word),
            _ => None,
        });
        words.collect()
    }

    #[test]
    fn literals_and_comments_hold_no_words() {
        let table = [
            ("line comment", "a // b\nc", vec!["a", "c"]),
            ("doc comment", "/// b\nc", vec!["c"]),
            ("nested comment", "a /* b /* c */ d */ e", vec!["a", "e"]),
            ("string", r#"a "b \" c" d"#, vec!["a", "d"]),
            ("raw string", r##"a r#"b " c"# d"##, vec!["a", "d"]),
            ("byte string", r#"a b"c" d"#, vec!["a", "d"]),
            ("character", "a 'b' '\\'' '\\u{62}' d", vec!["a", "d"]),
            ("lifetime", "a<'b> c", vec!["a", "b", "c"]),
            ("raw identifier", "r#type a", vec!["type", "a"]),
            ("number", "1u64 a", vec!["a"]),
        ];
        for (name, text, expected) in table {
            assert_eq!(words(text), expected, "{name}");
        }
    }

    #[test]
    fn groups_are_resolved_and_lines_counted() {
        let text = "use a::{self, b::{C, D}};\n\nlet x = crate::e::f(g);";
        let found = paths(&tokens(text));
        let texts: Vec<_> =
            found.iter().map(|(words, line)| format!("{}:{line}", words.join("::"))).collect();
        for expected in ["a::self:1", "a::b::C:1", "a::b::D:1", "crate::e::f:3", "g:3"] {
            assert!(texts.contains(&expected.to_owned()), "{expected} in {texts:?}");
        }
    }
}
