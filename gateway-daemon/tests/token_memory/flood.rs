//! A flood of tokens that are all different: malformed ones, forged ones, and good ones of any size.

use std::fs;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_daemon::authn::{Authenticator, CacheLimits, TokenCache};
use gateway_daemon::clock::UnixSeconds;
use gateway_daemon::model::jwt::{JwtRule, KeySource};
use gateway_daemon::model::object::ObjectRef;
use gateway_daemon::request::{ConnMeta, RequestView, Scheme};
use http::header::{AUTHORIZATION, HOST, HeaderValue};

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";
/// Of so many tokens one is good.
const GOOD: u64 = 10;

/// A worker's cache, and those that show it tokens.
pub(crate) struct Flood {
    authenticator: Authenticator,
    cache: TokenCache,
    limits: CacheLimits,
    key: hmac::Key,
    filler: String,
    shown: u64,
}

impl Flood {
    /// With limits as the daemon has them.
    pub(crate) fn new() -> Self {
        let limits = CacheLimits::default();
        Self {
            authenticator: Authenticator::compile(vec![rule()]).0,
            cache: TokenCache::new(limits),
            limits,
            key: hmac::Key::new(hmac::HMAC_SHA256, SECRET),
            filler: "x".repeat(12_000),
            shown: 0,
        }
    }

    /// Shows as many tokens, none of them twice.
    pub(crate) fn go_on(&mut self, tokens: u64) {
        for _ in 0..tokens {
            self.shown += 1;
            let (token, is_good) = self.token(self.shown);
            let mut view = view(&token);
            let now = UnixSeconds(1_700_000_000);
            let verdict = self.authenticator.authenticate(&mut view, now, &mut self.cache);
            assert_eq!(verdict.is_ok(), is_good, "{token}");
        }
        let stats = self.cache.stats();
        assert_eq!(stats.misses, self.shown, "each is new");
        assert!(stats.accepted.bytes <= self.limits.accepted_bytes as u64);
        assert!(stats.refused.bytes <= self.limits.refused_bytes as u64);
    }

    /// Bytes that the cache may take.
    pub(crate) fn budget(&self) -> u64 {
        (self.limits.accepted_bytes + self.limits.refused_bytes) as u64
    }

    /// Entries and bytes of both stores, as accounted.
    pub(crate) fn held(&self) -> (u64, u64) {
        let stats = self.cache.stats();
        (stats.accepted.entries + stats.refused.entries, stats.accepted.bytes + stats.refused.bytes)
    }

    fn token(&self, number: u64) -> (String, bool) {
        let is_good = number.is_multiple_of(GOOD);
        if number % GOOD == 1 {
            return (format!("{number}.is.malformed"), false);
        }
        // Of any size up to some eight kilobytes, so that slots of all sizes follow each other.
        let most = if is_good { self.filler.len() / 2 } else { 200 };
        let size = usize::try_from(number * 7919).unwrap_or_default() % most;
        let payload = format!(
            r#"{{"iss":"https://a.test","sub":"{number}","list":["{}",1]}}"#,
            &self.filler[..size]
        );
        let (header, payload) =
            (URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(payload));
        let message = format!("{header}.{payload}");
        if !is_good {
            let forged = URL_SAFE_NO_PAD.encode(number.to_be_bytes().repeat(4));
            return (format!("{message}.{forged}"), false);
        }
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&self.key, message.as_bytes()));
        (format!("{message}.{signature}"), true)
    }
}

/// Bytes of memory that the process has, as the kernel counts them.
pub(crate) fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

fn view(token: &str) -> RequestView {
    let mut parts = http::Request::new(()).into_parts().0;
    parts.headers.insert(HOST, HeaderValue::from_static("a.test"));
    if let Ok(value) = HeaderValue::try_from(format!("Bearer {token}")) {
        parts.headers.insert(AUTHORIZATION, value);
    }
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 80));
    let conn =
        ConnMeta { peer: address, local: address, scheme: Scheme::Http, sni: None, proxied: None };
    match RequestView::read(parts, &conn) {
        Ok(view) => view,
        Err(reason) => panic!("{reason:?}"),
    }
}

fn rule() -> JwtRule {
    let key = URL_SAFE_NO_PAD.encode(SECRET);
    let keys = format!(r#"{{"keys":[{{"kty":"oct","k":"{key}"}}]}}"#);
    let object = ObjectRef {
        kind: "RequestAuthentication",
        namespace: "default".into(),
        name: "flood".into(),
    };
    JwtRule::new(object, "https://a.test".into(), KeySource::Inline(keys.into()))
}
