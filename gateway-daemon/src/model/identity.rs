//! Who a request is from: what authentication hands to authorization.

use std::sync::Arc;

/// A JSON value of a claim.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A string.
    String(Box<str>),
    /// A list.
    List(Vec<Claim>),
    /// An object, members in order, names unique.
    Object(Vec<(Box<str>, Claim)>),
}

impl Claim {
    /// A member of an object.
    pub fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(n, _)| **n == *name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// Bytes that the value takes, all inside it included; allocator overhead left out.
    pub fn bytes(&self) -> usize {
        let inside = match self {
            Self::Null | Self::Bool(_) | Self::Number(_) => 0,
            Self::String(text) => text.len(),
            Self::List(items) => items.iter().map(Self::bytes).sum(),
            Self::Object(members) => {
                let member = |(name, value): &(Box<str>, Self)| {
                    size_of::<Box<str>>() + name.len() + value.bytes()
                };
                members.iter().map(member).sum()
            }
        };
        size_of::<Self>() + inside
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

/// The verified identity of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Issuer of the rule that accepted the token.
    pub issuer: Arc<str>,
    /// Subject; a token may have none, or an empty one.
    pub subject: Option<Box<str>>,
    /// All claims: an object.
    pub claims: Arc<Claim>,
    /// Claims that are split at blanks when they are strings.
    pub space_delimited: Arc<[Arc<str>]>,
}
