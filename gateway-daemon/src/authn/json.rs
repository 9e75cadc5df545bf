//! Strict JSON (RFC 8259) of tokens and key sets: no member twice, a limit on nesting, numbers
//! that a double holds, and nothing after the value.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::model::identity::Claim;

/// Levels of lists and objects; protobuf, which Envoy reads with, takes as many.
const MAX_DEPTH: usize = 100;

/// Members up to which searching beats hashing.
const FEW: usize = 16;

/// Reads one JSON object and nothing else. For protobuf, which Envoy reads with, `null` is one
/// without members.
pub(super) fn object(text: &[u8]) -> Option<Claim> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Value { depth: 0 }.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    match value {
        Claim::Object(_) => Some(value),
        Claim::Null => Some(Claim::Object(Vec::new())),
        _ => None,
    }
}

/// Reads one value, `depth` levels down.
struct Value {
    depth: usize,
}

impl Value {
    fn inner<E: de::Error>(&self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom("nested too deep"));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Value {
    type Value = Claim;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Claim, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = Claim;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Claim, E> {
        Ok(Claim::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Claim, E> {
        Ok(Claim::Bool(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "claims are doubles, as in Envoy")]
    fn visit_i64<E>(self, value: i64) -> Result<Claim, E> {
        Ok(Claim::Number(value as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "claims are doubles, as in Envoy")]
    fn visit_u64<E>(self, value: u64) -> Result<Claim, E> {
        Ok(Claim::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Claim, E> {
        Ok(Claim::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Claim, E> {
        Ok(Claim::String(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Claim, E> {
        Ok(Claim::String(value.into_boxed_str()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Claim, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(self.inner()?)? {
            items.push(item);
        }
        Ok(Claim::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claim, A::Error> {
        let mut members: Vec<(Box<str>, Claim)> = Vec::new();
        while let Some(name) = map.next_key::<Box<str>>()? {
            members.push((name, map.next_value_seed(self.inner()?)?));
        }
        if has_duplicates(&members) {
            return Err(de::Error::custom("a member twice"));
        }
        Ok(Claim::Object(members))
    }
}

/// Whether a name occurs twice; never quadratic in what a stranger sends.
fn has_duplicates(members: &[(Box<str>, Claim)]) -> bool {
    if members.len() <= FEW {
        let seen = |at: usize| members[..at].iter().any(|(name, _)| *name == members[at].0);
        return (1..members.len()).any(seen);
    }
    let mut names = HashSet::with_capacity(members.len());
    !members.iter().all(|(name, _)| names.insert(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strict_objects_are_read() {
        let deep = |levels: usize| {
            format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels)).into_bytes()
        };
        let many = |name: &str| {
            let members: Vec<_> = (0..40).map(|at| format!("\"m{at}\":{at}")).collect();
            format!("{{{},\"{name}\":1}}", members.join(",")).into_bytes()
        };
        let rows: [(&str, Vec<u8>, bool); 27] = [
            ("empty object", b"{}".to_vec(), true),
            ("null", b" null ".to_vec(), true),
            ("white space around", b" {} \n".to_vec(), true),
            ("nested", br#"{"a":[{"b":null}]}"#.to_vec(), true),
            ("same name at two levels", br#"{"a":{"a":1}}"#.to_vec(), true),
            ("99 lists", deep(99), true),
            ("101 lists", deep(101), false),
            ("many levels", deep(100_000), false),
            ("a member twice", br#"{"a":1,"a":1}"#.to_vec(), false),
            ("a member twice, escaped", br#"{"a":1,"\u0061":1}"#.to_vec(), false),
            ("a member twice, nested", br#"{"x":[{"a":1,"a":2}]}"#.to_vec(), false),
            ("many members", many("x"), true),
            ("many members, one twice", many("m7"), false),
            ("list", b"[]".to_vec(), false),
            ("string", b"\"a\"".to_vec(), false),
            ("anything after", b"{} x".to_vec(), false),
            ("trailing comma", br#"{"a":1,}"#.to_vec(), false),
            ("single quotes", b"{'a':1}".to_vec(), false),
            ("a name without quotes", b"{a:1}".to_vec(), false),
            ("a raw line feed", b"{\"a\":\"\n\"}".to_vec(), false),
            ("an escaped quote of the other kind", br#"{"a":"\'"}"#.to_vec(), false),
            ("a long escape", br#"{"a":"\U00000041"}"#.to_vec(), false),
            ("comment", b"{/* */}".to_vec(), false),
            ("NaN", br#"{"a":NaN}"#.to_vec(), false),
            ("beyond a double", br#"{"a":1e309}"#.to_vec(), false),
            ("lone surrogate", br#"{"a":"\ud800"}"#.to_vec(), false),
            ("not UTF-8", b"{\"a\":\"\xff\"}".to_vec(), false),
        ];
        for (name, text, expected) in rows {
            assert_eq!(object(&text).is_some(), expected, "{name}");
        }
        assert!(object(b"").is_none() && object(b"\xef\xbb\xbf{}").is_none());
    }
}
