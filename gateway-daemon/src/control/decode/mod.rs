//! [`Node`] to wire types: a serde `Deserializer` whose errors carry the field path and line, and
//! [`decode`], which reports every error of an object instead of the first.
//!
//! Scalars follow the Kubernetes API server: a number or boolean where text is wanted is refused
//! (YAML 1.1 and 1.2 readers would disagree about `no` or `0x10`). Must not know: kinds.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeOwned, Expected, IntoDeserializer, Unexpected, Visitor};

use super::path::{FieldPath, Step};
use super::yaml::{Member, Node, Value};

/// One thing that is wrong with an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct DecodeError {
    /// Field, from the object's root.
    pub(super) path: FieldPath,
    /// Line of the field, or of the mapping that lacks it.
    pub(super) line: usize,
    /// What is wrong and what to do.
    pub(super) message: String,
}

/// Reads `T` from `node`. With errors, all of them: a value that is refused is taken out and the
/// rest is read again, until nothing is left to complain about.
pub(super) fn decode<T: DeserializeOwned>(node: &Node) -> Result<T, Vec<DecodeError>> {
    let mut refused = HashSet::new();
    let mut errors = Vec::new();
    loop {
        match T::deserialize(Decoder { node, refused: &refused }) {
            Ok(value) if errors.is_empty() => return Ok(value),
            Ok(_) => return Err(errors),
            Err(error) => {
                let at_root = error.node.is_none();
                let at = error.node.unwrap_or_else(|| address(node));
                // A field that was refused before is missing now; that was said already.
                if !error.missing_because_refused(node, &refused) {
                    errors.push(error.into_decode_error(node.line));
                }
                if at_root || !refused.insert(at) {
                    return Err(errors);
                }
            }
        }
    }
}

/// A node's identity while its tree is borrowed.
fn address(node: &Node) -> usize {
    std::ptr::from_ref(node).addr()
}

#[derive(Debug)]
struct Refusal {
    message: String,
    missing: Option<&'static str>,
    /// Steps from the node back to the root.
    steps: Vec<Step>,
    /// The refused value; none: the object itself.
    node: Option<usize>,
    line: Option<usize>,
}

impl Refusal {
    fn new(message: String) -> Self {
        Self { message, missing: None, steps: Vec::new(), node: None, line: None }
    }

    fn at(mut self, node: &Node, line: usize, step: Step) -> Self {
        self.node.get_or_insert_with(|| address(node));
        self.line.get_or_insert(line);
        self.steps.push(step);
        self
    }

    fn missing_because_refused(&self, root: &Node, refused: &HashSet<usize>) -> bool {
        let Some(field) = self.missing else { return false };
        let holder = FieldPath::from_steps(self.steps.iter().rev().cloned());
        holder
            .find(root)
            .and_then(|node| node.get(field))
            .is_some_and(|value| refused.contains(&address(value)))
    }

    fn into_decode_error(self, root_line: usize) -> DecodeError {
        DecodeError {
            path: FieldPath::from_steps(self.steps.into_iter().rev()),
            line: self.line.unwrap_or(root_line),
            message: self.message,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

impl de::Error for Refusal {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("{unexpected} is not {expected}"))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("{unexpected} is not {expected}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("unknown value {variant:?}; use {}", alternatives(expected)))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("unknown field; this place has {}", alternatives(expected)))
    }

    fn missing_field(field: &'static str) -> Self {
        let mut refusal = Self::new(format!("field {field:?} is missing"));
        refusal.missing = Some(field);
        refusal
    }
}

/// `a`, `a or b`, `a, b or c`.
pub(super) fn alternatives(words: &[&str]) -> String {
    match words {
        [] => "no fields".to_owned(),
        [word] => (*word).to_owned(),
        [words @ .., last] => format!("{} or {last}", words.join(", ")),
    }
}

#[derive(Clone, Copy)]
struct Decoder<'de> {
    node: &'de Node,
    refused: &'de HashSet<usize>,
}

impl<'de> Decoder<'de> {
    fn with(self, node: &'de Node) -> Self {
        Self { node, refused: self.refused }
    }

    fn is_refused(self, node: &Node) -> bool {
        self.refused.contains(&address(node))
    }

    fn mismatch(self, expected: &dyn Expected) -> Refusal {
        Refusal::new(format!("{} is not {expected}", describe(self.node)))
    }

    fn integer<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        if let Value::Scalar { text, plain: true } = &self.node.value {
            if let Ok(number) = text.parse::<u64>() {
                return visitor.visit_u64(number);
            }
            if let Ok(number) = text.parse::<i64>() {
                return visitor.visit_i64(number);
            }
        }
        Err(Refusal::new(format!("{} is not a whole number", describe(self.node))))
    }

    fn string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.node.value {
            Value::Scalar { text, plain: true } if is_not_text(text) => Err(Refusal::new(format!(
                "{} where text is wanted; put it in quotes",
                describe(self.node)
            ))),
            Value::Scalar { text, .. } => visitor.visit_borrowed_str(text),
            Value::List(_) | Value::Map(_) => Err(self.mismatch(&visitor)),
        }
    }
}

/// Whether some YAML reader takes this plain scalar for something else than text.
fn is_not_text(text: &str) -> bool {
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "" | "~" | "null" | "true" | "false" | "yes" | "no" | "on" | "off"
    );
    let digits = text.trim_start_matches(['-', '+']);
    word || is_number(digits)
}

fn is_number(digits: &str) -> bool {
    let radix = |prefix: &str, radix: u32| {
        digits.strip_prefix(prefix).is_some_and(|rest| {
            !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix) || c == '_')
        })
    };
    let starts_like_a_number =
        digits.starts_with(|c: char| c.is_ascii_digit()) || digits.starts_with('.');
    radix("0x", 16)
        || radix("0o", 8)
        || radix("0b", 2)
        || (starts_like_a_number
            && digits.ends_with(|c: char| c.is_ascii_digit() || c == '.')
            && digits.replace('_', "").parse::<f64>().is_ok())
        || matches!(digits.to_ascii_lowercase().as_str(), ".inf" | ".nan")
}

fn describe(node: &Node) -> String {
    match &node.value {
        _ if node.is_null() => "nothing".to_owned(),
        Value::Scalar { text, plain: true } => match &**text {
            "true" | "false" => format!("the boolean {text}"),
            _ if is_number(text.trim_start_matches(['-', '+'])) => format!("the number {text}"),
            _ => format!("{text:?}"),
        },
        Value::Scalar { text, .. } => format!("the text {text:?}"),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a mapping".to_owned(),
    }
}

impl<'de> de::Deserializer<'de> for Decoder<'de> {
    type Error = Refusal;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.node.value {
            _ if self.node.is_null() => visitor.visit_unit(),
            Value::Scalar { text, plain: true } if matches!(&**text, "true" | "false") => {
                self.deserialize_bool(visitor)
            }
            Value::Scalar { text, plain: true } if text.parse::<i64>().is_ok() => {
                self.integer(visitor)
            }
            Value::Scalar { text, .. } => visitor.visit_borrowed_str(text),
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.node.value {
            Value::Scalar { text, plain: true } if &**text == "true" => visitor.visit_bool(true),
            Value::Scalar { text, plain: true } if &**text == "false" => visitor.visit_bool(false),
            _ => Err(Refusal::new(format!("{} is not true or false", describe(self.node)))),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        if self.node.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.node.value {
            Value::List(nodes) => {
                visitor.visit_seq(Elements { decoder: self, nodes: nodes.iter().enumerate() })
            }
            // `rules:` with nothing behind it is an empty list to the API server too.
            _ if self.node.is_null() => {
                visitor.visit_seq(Elements { decoder: self, nodes: [].iter().enumerate() })
            }
            _ => Err(Refusal::new(format!("{} is not a list", describe(self.node)))),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let members: &[Member] = match &self.node.value {
            Value::Map(members) => members,
            _ if self.node.is_null() => &[],
            _ => return Err(Refusal::new(format!("{} is not a mapping", describe(self.node)))),
        };
        visitor.visit_map(Members { decoder: self, rest: members.iter(), current: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        match &self.node.value {
            Value::Scalar { text, .. } => visitor.visit_enum((**text).into_deserializer()),
            Value::List(_) | Value::Map(_) => Err(self.mismatch(&"text")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_unit()
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.integer(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.string(visitor)
    }

    serde::forward_to_deserialize_any! {
        <V: Visitor<'de>>
        i8 i16 i32 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        identifier
    }
}

struct Elements<'de> {
    decoder: Decoder<'de>,
    nodes: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
}

impl<'de> de::SeqAccess<'de> for Elements<'de> {
    type Error = Refusal;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Refusal> {
        let decoder = self.decoder;
        let Some((index, node)) = self.nodes.find(|(_, node)| !decoder.is_refused(node)) else {
            return Ok(None);
        };
        seed.deserialize(decoder.with(node))
            .map(Some)
            .map_err(|refusal| refusal.at(node, node.line, Step::Index(index)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.nodes.len())
    }
}

struct Members<'de> {
    decoder: Decoder<'de>,
    rest: std::slice::Iter<'de, Member>,
    current: Option<&'de Member>,
}

impl<'de> de::MapAccess<'de> for Members<'de> {
    type Error = Refusal;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Refusal> {
        let decoder = self.decoder;
        self.current = self.rest.find(|member| !decoder.is_refused(&member.node));
        let Some(member) = self.current else { return Ok(None) };
        let key = de::value::BorrowedStrDeserializer::new(&member.key);
        seed.deserialize(key)
            .map(Some)
            .map_err(|refusal: Refusal| refusal.at(&member.node, member.line, key_step(member)))
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, Refusal> {
        let Some(member) = self.current else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(self.decoder.with(&member.node))
            .map_err(|refusal| refusal.at(&member.node, member.line, key_step(member)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

fn key_step(member: &Member) -> Step {
    Step::Key(member.key.clone())
}
