//! Text on its way to a terminal or a file: without tokens that somebody could use, and without
//! characters that do something to a terminal.

use std::fmt::Write as _;

/// The text as it may be shown.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for word in text.split_inclusive(|c: char| !is_token_char(c)) {
        let end = word.trim_end_matches(|c: char| !is_token_char(c)).len();
        let (token, rest) = word.split_at(end);
        if is_jwt(token) {
            // Writing to a String cannot fail.
            let written = write!(shown, "(a token of {} bytes)", token.len());
            debug_assert!(written.is_ok());
        } else {
            shown.push_str(token);
        }
        shown.extend(rest.chars().map(|c| if harms_terminals(c) { '\u{fffd}' } else { c }));
    }
    shown
}

/// Bytes as text that may be shown.
pub(super) fn shown_bytes(bytes: &[u8]) -> String {
    shown(&String::from_utf8_lossy(bytes))
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// Three or more sections, with base64url of `{"` among them.
fn is_jwt(word: &str) -> bool {
    word.contains("eyJ") && word.matches('.').count() >= 2
}

/// Control characters, and those that change the direction of text.
fn harms_terminals(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_control_characters_are_not_shown() {
        let rows = [
            ("plain /path?x=1", "plain /path?x=1"),
            ("Bearer eyJh.eyJp.c2ln", "Bearer (a token of 14 bytes)"),
            ("/x?access_token=eyJh.eyJp.c2ln&b=c", "/x?access_token=(a token of 14 bytes)&b=c"),
            ("a=\"eyJh.eyJp.c2ln\"", "a=\"(a token of 14 bytes)\""),
            ("eyJh.eyJp", "eyJh.eyJp"),
            ("a\u{1b}[31mb\n", "a\u{fffd}[31mb\u{fffd}"),
            ("a\u{202e}b", "a\u{fffd}b"),
            ("é", "é"),
        ];
        for (text, expected) in rows {
            assert_eq!(shown(text), expected);
        }
    }
}
