//! What a provider's answer changes in a message: headers that are set, added or removed.

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::wire::HeaderOption;
use super::{Failure, Side};
use crate::model::ext_authz::is_own_header;

/// Changes of headers, in order.
#[derive(Debug, Default)]
pub(crate) struct HeaderEdits(Vec<(HeaderName, Edit)>);

#[derive(Debug)]
enum Edit {
    /// In place of what is there.
    Set(HeaderValue),
    /// Behind what is there, as part of the same value.
    Join(HeaderValue),
    /// As another line.
    Add(HeaderValue),
    /// Where nothing is there.
    SetIfAbsent(HeaderValue),
    /// Where something is there.
    SetIfPresent(HeaderValue),
    /// Taken away.
    Remove,
}

impl HeaderEdits {
    /// Whether nothing changes.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Changes of another answer, behind these.
    pub(super) fn extend(&mut self, later: Self) {
        self.0.extend(later.0);
    }

    /// Every line of a header, in place of what is there. `set-cookie` is added: each line is a
    /// cookie of its own.
    pub(super) fn replace(&mut self, name: &HeaderName, lines: &HeaderMap) {
        for (at, value) in lines.get_all(name).iter().enumerate() {
            let first = at == 0 && name != SET_COOKIE;
            let value = value.clone();
            self.push(name.clone(), if first { Edit::Set(value) } else { Edit::Add(value) });
        }
    }

    /// Takes a header away, if it is no header that only we write.
    pub(super) fn remove(&mut self, name: HeaderName) {
        self.push(name, Edit::Remove);
    }

    /// A change as gRPC providers ask for it. Pseudo-headers are left out: what is decided about is
    /// what is forwarded.
    pub(super) fn option(&mut self, option: &HeaderOption, side: Side) -> Result<(), Failure> {
        let Some(header) = &option.header else { return Ok(()) };
        if header.key.starts_with(':') {
            return Ok(());
        }
        let name = HeaderName::from_bytes(header.key.as_bytes()).map_err(|_| Failure::Nonsense)?;
        let bytes = if header.value.is_empty() { &header.raw_value } else { &header.value };
        let value = HeaderValue::from_maybe_shared(bytes.clone()).map_err(|_| Failure::Nonsense)?;
        let add = |value| match side {
            Side::Request => Edit::Join(value),
            Side::Response => Edit::Add(value),
        };
        let edit = match (&option.append, option.append_action) {
            (Some(append), _) if append.value => add(value),
            // APPEND_IF_EXISTS_OR_ADD, which is also what nobody wrote.
            (None, 0) if side == Side::Response => add(value),
            (None, 1) => Edit::SetIfAbsent(value),
            (None, 3) => Edit::SetIfPresent(value),
            _ => Edit::Set(value),
        };
        self.push(name, edit);
        Ok(())
    }

    fn push(&mut self, name: HeaderName, edit: Edit) {
        if !is_own_header(&name) {
            self.0.push((name, edit));
        }
    }

    /// Changes headers.
    pub(super) fn apply(self, headers: &mut HeaderMap) {
        for (name, edit) in self.0 {
            let present = headers.contains_key(&name);
            match edit {
                Edit::Set(value) => drop(headers.insert(name, value)),
                Edit::SetIfAbsent(value) if !present => drop(headers.insert(name, value)),
                Edit::SetIfPresent(value) if present => drop(headers.insert(name, value)),
                Edit::SetIfAbsent(_) | Edit::SetIfPresent(_) => {}
                Edit::Add(value) => drop(headers.append(name, value)),
                Edit::Join(value) => join(headers, name, &value),
                Edit::Remove => drop(headers.remove(&name)),
            }
        }
    }
}

/// Puts a value behind the last line of a header.
fn join(headers: &mut HeaderMap, name: HeaderName, value: &HeaderValue) {
    let separator: &[u8] = if name == COOKIE { b"; " } else { b"," };
    let mut joined = Vec::new();
    for line in headers.get_all(&name).iter().chain([value]) {
        if !joined.is_empty() {
            joined.extend_from_slice(separator);
        }
        joined.extend_from_slice(line.as_bytes());
    }
    // Values and separators hold no byte that a header value may not hold.
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(name, joined);
    }
}
