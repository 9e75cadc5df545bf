//! Where tokens are looked for: headers, query parameters, cookies, in that order and by name,
//! as Envoy orders them. Bodies are never read.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderName;
use http::header::{AUTHORIZATION, COOKIE};

use crate::model::jwt::TokenPlaces;
use crate::request::RequestView;

/// One place. The order is the order of looking.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// A header; the token is what follows the prefix.
    Header { name: HeaderName, prefix: Arc<str> },
    /// A query parameter.
    Param(Arc<str>),
    /// A cookie.
    Cookie(Arc<str>),
}

/// A token, or what stands where one was expected.
pub(super) struct Found<'r> {
    /// Position of its place.
    pub(super) place: usize,
    pub(super) token: Cow<'r, [u8]>,
}

/// The places of a rule in order; the default ones if it names none.
pub(super) fn compile(places: &TokenPlaces) -> Vec<Place> {
    let header = |name: HeaderName, prefix: Arc<str>| Place::Header { name, prefix };
    let TokenPlaces { headers, params, cookies } = places;
    if headers.is_empty() && params.is_empty() && cookies.is_empty() {
        let bearer = header(AUTHORIZATION, "Bearer ".into());
        return vec![bearer, Place::Param("access_token".into())];
    }
    let headers = headers.iter().map(|h| header(h.name.clone(), Arc::clone(&h.prefix)));
    let params = params.iter().cloned().map(Place::Param);
    let cookies = cookies.iter().cloned().map(Place::Cookie);
    in_order(headers.chain(params).chain(cookies).collect())
}

/// Sorts places and drops repeated ones.
pub(super) fn in_order(mut places: Vec<Place>) -> Vec<Place> {
    places.sort_by(|a, b| a.rank().cmp(&b.rank()));
    places.dedup();
    places
}

impl Place {
    fn rank(&self) -> (u8, &str, &str) {
        match self {
            Self::Header { name, prefix } => (0, name.as_str(), prefix),
            Self::Param(name) => (1, name, ""),
            Self::Cookie(name) => (2, name, ""),
        }
    }
}

/// Every token in these places, in order.
pub(super) fn find<'r>(places: &[Place], view: &'r RequestView) -> Vec<Found<'r>> {
    let mut found = Vec::new();
    for (place, content) in places.iter().enumerate() {
        match content {
            Place::Header { name, prefix } => {
                for line in view.headers().get_all(name) {
                    if let Some(token) = after(line.as_bytes(), prefix.as_bytes()) {
                        found.push(Found { place, token: Cow::Borrowed(token) });
                    }
                }
            }
            Place::Param(name) => {
                if let Some(token) = view.param(name) {
                    found.push(Found { place, token });
                }
            }
            Place::Cookie(name) => {
                if let Some(token) = cookie(view, name.as_bytes()) {
                    found.push(Found { place, token: Cow::Borrowed(token) });
                }
            }
        }
    }
    found
}

/// What follows the first occurrence of the prefix, blanks at both ends trimmed.
fn after<'v>(value: &'v [u8], prefix: &[u8]) -> Option<&'v [u8]> {
    let at = memchr::memmem::find(value, prefix)?;
    Some(value[at + prefix.len()..].trim_ascii())
}

/// The first cookie of this name, surrounding quotes dropped (RFC 6265 4.1.1).
fn cookie<'r>(view: &'r RequestView, name: &[u8]) -> Option<&'r [u8]> {
    let lines = view.headers().get_all(COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let value = pairs
        .filter_map(|pair| {
            let equals = memchr::memchr(b'=', pair)?;
            Some((pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii()))
        })
        .find(|(key, _)| *key == name)?
        .1;
    Some(match value {
        [b'"', inner @ .., b'"'] => inner,
        bare => bare,
    })
}
