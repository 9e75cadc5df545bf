//! Where tokens are looked for: headers, query parameters, cookies, in that order and by name,
//! as Envoy orders them. Bodies are never read.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderName;
use http::header::{AUTHORIZATION, COOKIE};

use super::failure::Failure;
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
    /// Position of its line, where the place is a header.
    pub(super) line: usize,
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
    places.sort_by_cached_key(Place::rank);
    places.dedup();
    places
}

impl Place {
    /// Envoy keeps headers by their name with the prefix behind it.
    fn rank(&self) -> (u8, String) {
        match self {
            Self::Header { name, prefix } => (0, format!("{name}{prefix}")),
            Self::Param(name) => (1, name.to_string()),
            Self::Cookie(name) => (2, name.to_string()),
        }
    }
}

/// Tokens that were good, and that the upstream must not see: the line of a header, or a parameter.
/// Cookies stay.
#[derive(Default)]
pub(super) struct Spent {
    lines: Vec<(HeaderName, usize)>,
    params: Vec<Arc<str>>,
}

impl Spent {
    pub(super) fn add(&mut self, place: &Place, line: usize) {
        match place {
            Place::Header { name, .. } => self.lines.push((name.clone(), line)),
            Place::Param(name) => self.params.push(Arc::clone(name)),
            Place::Cookie(_) => {}
        }
    }

    pub(super) fn holds(&self, place: &Place, line: usize) -> bool {
        match place {
            Place::Header { name, .. } => self.lines.iter().any(|(n, l)| n == name && *l == line),
            Place::Param(name) => self.params.contains(name),
            Place::Cookie(_) => false,
        }
    }

    /// Removes them: whole headers, and every parameter of a name.
    pub(super) fn remove(self, view: &mut RequestView) -> Result<(), Failure> {
        for (name, _) in self.lines {
            view.headers_mut().remove(name);
        }
        for name in self.params {
            view.remove_param(&name).map_err(|_| Failure::Form)?;
        }
        Ok(())
    }
}

/// Every token in these places, in order.
pub(super) fn find<'r>(places: &[Place], view: &'r RequestView) -> Vec<Found<'r>> {
    let mut found = Vec::new();
    for (place, content) in places.iter().enumerate() {
        match content {
            Place::Header { name, prefix } => {
                for (line, value) in view.headers().get_all(name).iter().enumerate() {
                    if let Some(token) = after(value.as_bytes(), prefix.as_bytes()) {
                        found.push(Found { place, line, token: Cow::Borrowed(token) });
                    }
                }
            }
            Place::Param(name) => {
                if let Some(token) = view.param(name) {
                    found.push(Found { place, line: 0, token });
                }
            }
            Place::Cookie(name) => {
                if let Some(token) = cookie(view, name.as_bytes()) {
                    found.push(Found { place, line: 0, token: Cow::Borrowed(token) });
                }
            }
        }
    }
    found
}

/// What follows the first occurrence of the prefix, up to what may begin a token. Without a prefix
/// the whole value, with blanks around it too, which only HTTP/2 can bring here: no token has any.
/// With a prefix, blanks at the end are no part of it.
fn after<'v>(value: &'v [u8], prefix: &[u8]) -> Option<&'v [u8]> {
    if prefix.is_empty() {
        return Some(value);
    }
    let at = memchr::memmem::find(value, prefix)?;
    let rest = &value[at + prefix.len()..];
    let start = rest.iter().position(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b));
    Some(rest[start.unwrap_or(rest.len())..].trim_ascii_end())
}

/// The first cookie of this name, surrounding quotes dropped (RFC 6265 4.1.1). Blanks before a name
/// are no part of it; those around `=` are, and name another cookie or spoil the token.
fn cookie<'r>(view: &'r RequestView, name: &[u8]) -> Option<&'r [u8]> {
    let lines = view.headers().get_all(COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let value = pairs
        .filter_map(|pair| {
            let start = pair.iter().position(|byte| *byte != b' ')?;
            let equals = memchr::memchr(b'=', pair)?;
            Some((pair.get(start..equals)?, &pair[equals + 1..]))
        })
        .find(|(key, _)| *key == name)?
        .1;
    Some(match value {
        [b'"', inner @ .., b'"'] => inner,
        bare => bare,
    })
}
