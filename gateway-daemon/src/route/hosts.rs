//! Hostnames to values, the most specific one first.

use std::sync::Arc;

use crate::model::listener::Hostname;
use crate::model::lookup::Lookup;

/// A value per hostname.
pub(super) struct HostMap<T> {
    exact: Lookup<Arc<str>, T>,
    /// By suffix, the dot in front included.
    wildcard: Lookup<Arc<str>, T>,
    any: Option<T>,
}

impl<T> Default for HostMap<T> {
    fn default() -> Self {
        Self { exact: Lookup::default(), wildcard: Lookup::default(), any: None }
    }
}

impl<T: Default> HostMap<T> {
    /// The value of a hostname; none stands for every host.
    pub(super) fn entry(&mut self, hostname: Option<&Hostname>) -> &mut T {
        match hostname {
            Some(Hostname::Exact(name)) => self.exact.entry(Arc::clone(name)).or_default(),
            Some(Hostname::Wildcard(suffix)) => {
                self.wildcard.entry(Arc::clone(suffix)).or_default()
            }
            None => self.any.get_or_insert_with(T::default),
        }
    }
}

impl<T> HostMap<T> {
    /// The first answer of `ask` among the hostnames that name `host` (lower case, without port),
    /// the most specific first: exact, then wildcards by length, then every host.
    pub(super) fn find<A>(&self, host: &str, ask: impl Fn(&T) -> Option<A>) -> Option<A> {
        let exact = || self.exact.get(host).and_then(&ask);
        let wildcard = || {
            if self.wildcard.is_empty() {
                return None;
            }
            // No hostname is longer than 253 bytes, so neither is a suffix worth looking up.
            let start = host.len().saturating_sub(254);
            let dots = memchr::memchr_iter(b'.', host.get(start..)?.as_bytes());
            dots.map(|dot| start + dot)
                .filter(|dot| *dot > 0)
                .find_map(|dot| self.wildcard.get(&host[dot..]).and_then(&ask))
        };
        let any = || self.any.as_ref().and_then(&ask);
        exact().or_else(wildcard).or_else(any)
    }
}
