//! The place of a field that the API has and we do not support yet.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Refuses every value except an empty list or mapping, which asks for nothing.
#[derive(Debug)]
pub(crate) struct Unsupported;

const MESSAGE: &str = "this field is not supported yet; remove it";

impl<'de> Deserialize<'de> for Unsupported {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnsupportedVisitor)
    }
}

struct UnsupportedVisitor;

impl<'de> Visitor<'de> for UnsupportedVisitor {
    type Value = Unsupported;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("supported yet")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Unsupported, E> {
        Err(E::custom(MESSAGE))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Unsupported, E> {
        Err(E::custom(MESSAGE))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Unsupported, E> {
        Err(E::custom(MESSAGE))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Unsupported, E> {
        Err(E::custom(MESSAGE))
    }

    fn visit_unit<E: Error>(self) -> Result<Unsupported, E> {
        Ok(Unsupported)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Unsupported, A::Error> {
        if elements.size_hint() == Some(0) {
            Ok(Unsupported)
        } else {
            Err(A::Error::custom(MESSAGE))
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Unsupported, A::Error> {
        if members.size_hint() == Some(0) {
            Ok(Unsupported)
        } else {
            Err(A::Error::custom(MESSAGE))
        }
    }
}
