//! What the upstream is told about a token: its payload and claims as headers. The client's own
//! headers of these names never get through, in no spelling that some upstream may take for them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::claims::sections;
use crate::model::identity::Claim;
use crate::model::jwt::{ClaimFormat, JwtRule};

/// Headers that one rule writes.
pub(super) struct Outputs {
    payload: Option<HeaderName>,
    claims: Vec<(HeaderName, Box<[Box<str>]>)>,
    format: ClaimFormat,
}

impl Outputs {
    pub(super) fn compile(rule: &JwtRule) -> Self {
        let path = |claim: &str| claim.split('.').map(Box::from).collect();
        let claims = rule.output_claim_to_headers.iter();
        Self {
            payload: rule.output_payload_to_header.clone(),
            format: rule.claim_format,
            claims: claims.map(|c| (c.header.clone(), path(&c.claim))).collect(),
        }
    }

    /// Every header that is written to.
    pub(super) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.payload.iter().chain(self.claims.iter().map(|(name, _)| name))
    }

    /// The headers for an accepted token.
    pub(super) fn of(&self, token: &[u8], claims: &Claim) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::new();
        if let (Some(name), Some([_, payload, _])) = (&self.payload, sections(token)) {
            headers.extend(HeaderValue::from_bytes(payload).ok().map(|v| (name.clone(), v)));
        }
        for (name, path) in &self.claims {
            let claim = path.iter().try_fold(claims, |claim, member| claim.member(member));
            let value = claim.and_then(|claim| value(claim, self.format));
            headers.extend(value.map(|v| (name.clone(), v)));
        }
        headers
    }
}

/// A claim as a header value. None for null, an empty string, and text that no header can carry
/// (control characters): the upstream then sees no header, which the client cannot supply either.
fn value(claim: &Claim, format: ClaimFormat) -> Option<HeaderValue> {
    let text = match claim {
        Claim::Null => return None,
        Claim::Bool(value) => value.to_string(),
        Claim::Number(value) => number(*value),
        Claim::String(text) => return header_text(text),
        Claim::List(items) if format == ClaimFormat::CommaList => comma_list(items)?,
        Claim::List(_) | Claim::Object(_) => {
            let mut json = String::new();
            write_json(claim, &mut json);
            if format == ClaimFormat::Envoy { STANDARD.encode(json) } else { json }
        }
    };
    header_text(&text)
}

/// Items with a comma between them. None if an item is no plain value, or holds a comma itself:
/// whoever splits the header would read items that the issuer never wrote.
fn comma_list(items: &[Claim]) -> Option<String> {
    let item = |item: &Claim| match item {
        Claim::Bool(value) => Some(value.to_string()),
        Claim::Number(value) => Some(number(*value)),
        Claim::String(text) => (!text.contains(',')).then(|| text.to_string()),
        Claim::Null | Claim::List(_) | Claim::Object(_) => None,
    };
    items.iter().map(item).collect::<Option<Vec<_>>>().map(|items| items.join(","))
}

fn header_text(text: &str) -> Option<HeaderValue> {
    (!text.is_empty()).then(|| HeaderValue::from_bytes(text.as_bytes()).ok()).flatten()
}

/// Whole and not negative: digits; else six decimals.
fn number(value: f64) -> String {
    /// 2^64, the first double that does not fit.
    const LIMIT: f64 = 18_446_744_073_709_551_616.0;
    if (0.0..LIMIT).contains(&value) && value.fract() == 0.0 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole and in range"
        )]
        return (value as u64).to_string();
    }
    format!("{value:.6}")
}

/// Compact JSON as protobuf writes it, members by name.
fn write_json(claim: &Claim, out: &mut String) {
    match claim {
        Claim::Null => out.push_str("null"),
        Claim::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Claim::Number(value) => out.push_str(&shortest(*value)),
        Claim::String(text) => write_string(text, out),
        Claim::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_json(item, out);
            }
            out.push(']');
        }
        Claim::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            out.push('{');
            for (at, (name, member)) in members.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_string(name, out);
                out.push(':');
                write_json(member, out);
            }
            out.push('}');
        }
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if is_escaped(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str("\\u");
                    for shift in [12, 8, 4, 0] {
                        out.extend(char::from_digit(u32::from(*unit) >> shift & 15, 16));
                    }
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// What protobuf escapes besides JSON's own: characters that have meant trouble in scripts.
fn is_escaped(c: char) -> bool {
    matches!(c,
        '<' | '>' | '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{6dd}' | '\u{70f}'
        | '\u{17b4}'..='\u{17b5}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}'
        | '\u{e0020}'..='\u{e007f}')
}

/// C's `%.15g`, or `%.17g` where that would not read back as the same number.
fn shortest(value: f64) -> String {
    let text = general(value, 15);
    if text.parse() == Ok(value) { text } else { general(value, 17) }
}

/// C's `%g` with this many significant digits.
fn general(value: f64, digits: usize) -> String {
    let scientific = format!("{value:.*e}", digits - 1);
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let plain = usize::try_from(exponent).map_or(exponent >= -4, |e| e < digits);
    let trim = |text: &str| {
        let zeros = if text.contains('.') { text.trim_end_matches('0') } else { text };
        zeros.trim_end_matches('.').to_owned()
    };
    if !plain {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    let whole = i32::try_from(digits).unwrap_or(i32::MAX) - 1;
    let decimals = usize::try_from(whole - exponent).unwrap_or_default();
    trim(&format!("{value:.decimals$}"))
}

/// Header names that clients may not send, in any spelling.
#[derive(Default)]
pub(super) struct Reserved {
    /// Folded names.
    names: Vec<Box<str>>,
    /// Bit `n` says that some name is `n` bytes long, modulo 64.
    lengths: u64,
}

impl Reserved {
    pub(super) fn new<'n>(names: impl Iterator<Item = &'n HeaderName>) -> Self {
        let mut names: Vec<Box<str>> =
            names.map(|n| n.as_str().chars().map(fold).collect()).collect();
        names.sort();
        names.dedup();
        let lengths = names.iter().fold(0, |bits, name| bits | 1 << (name.len() % 64));
        Self { names, lengths }
    }

    /// Removes every header that is one of these, or that some upstream takes for one: CGI and its
    /// heirs make no difference between `-` and `_`, some none between those and `.`.
    pub(super) fn strip(&self, headers: &mut HeaderMap) {
        if self.names.is_empty() {
            return;
        }
        let spoofed: Vec<HeaderName> = headers.keys().filter(|n| self.holds(n)).cloned().collect();
        for name in spoofed {
            headers.remove(name);
        }
    }

    /// Whether a header is one of these, or an alias.
    pub(super) fn holds(&self, name: &HeaderName) -> bool {
        let name = name.as_str();
        self.lengths & 1 << (name.len() % 64) != 0
            && self.names.iter().any(|reserved| reserved.chars().eq(name.chars().map(fold)))
    }
}

fn fold(c: char) -> char {
    match c {
        '_' | '.' => '-',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_envoy_prints_them() {
        let rows = [
            (0.0, "0"),
            (-0.0, "0"),
            (42.0, "42"),
            (1.5, "1.500000"),
            (-3.0, "-3.000000"),
            (1e-7, "0.000000"),
            (12_345_678_901_234_567_890.0, "12345678901234567168"),
            (1e20, "100000000000000000000.000000"),
        ];
        for (value, expected) in rows {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn numbers_inside_json_print_as_protobuf_prints_them() {
        let rows = [
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (100_000.0, "100000"),
            (1e15, "1e+15"),
            (123_456_789_012_345.0, "123456789012345"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (1.0 / 3.0, "0.33333333333333331"),
            (0.0, "0"),
        ];
        for (value, expected) in rows {
            assert_eq!(shortest(value), expected);
        }
    }

    #[test]
    fn lists_and_objects_are_compact_json() {
        let text = |t: &str| Claim::String(t.into());
        let claim = Claim::Object(vec![
            ("z".into(), Claim::List(vec![text("<a>\n"), Claim::Number(1.0), Claim::Null])),
            ("a".into(), Claim::Bool(true)),
        ]);
        let mut json = String::new();
        write_json(&claim, &mut json);
        assert_eq!(json, r#"{"a":true,"z":["\u003ca\u003e\n",1,null]}"#);
    }

    #[test]
    fn what_a_header_cannot_carry_is_no_header() {
        for text in ["", "a\r\nX-Evil: 1", "a\0b", "a\u{1}b", "a\u{7f}"] {
            assert_eq!(value(&Claim::String(text.into()), ClaimFormat::Envoy), None, "{text:?}");
        }
        assert_eq!(value(&Claim::String("a\tb".into()), ClaimFormat::Envoy).unwrap(), "a\tb");
    }

    #[test]
    fn lists_stand_as_the_rule_says() {
        use ClaimFormat::{CommaList, Envoy, Json};
        let rows = [
            (Envoy, r#"["a",1,true]"#, Some("WyJhIiwxLHRydWVd")),
            (Json, r#"["a",1,true]"#, Some(r#"["a",1,true]"#)),
            (CommaList, r#"["a",1,true]"#, Some("a,1,true")),
            (CommaList, r#"["a","b,admin"]"#, None),
            (CommaList, r#"["a",["b"]]"#, None),
            (CommaList, r#"["a",null]"#, None),
            (CommaList, "[]", None),
            (CommaList, r#"{"k":"v"}"#, Some(r#"{"k":"v"}"#)),
            (Json, r#""text""#, Some("text")),
        ];
        for (format, json, expected) in rows {
            let object = format!(r#"{{"c":{json}}}"#);
            let claims = crate::authn::json::object(object.as_bytes()).unwrap();
            let found = claims.member("c").and_then(|claim| value(claim, format));
            assert_eq!(found.as_ref().map(|v| v.to_str().unwrap()), expected, "{format:?} {json}");
        }
    }

    #[test]
    fn aliases_are_stripped() {
        let names = [HeaderName::from_static("x-user_id"), HeaderName::from_static("x.b")];
        let reserved = Reserved::new(names.iter());
        let mut headers = HeaderMap::new();
        for name in ["x-user_id", "x-user-id", "x_user.id", "x-b", "x.b", "x-user-idx", "xb"] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("spoof"));
        }
        headers.append("x-user-id", HeaderValue::from_static("again"));
        reserved.strip(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["x-user-idx", "xb"]);
    }
}
