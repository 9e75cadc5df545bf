//! Keys that are fetched: where from, within which bounds, and how that goes.
//!
//! A [`KeyFeed`] is the only thing that the data path and the fetching side share: atomics, never
//! a lock.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use super::listener::Certificate;

/// An `http` or `https` URL that keys may be fetched from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyUrl {
    text: Arc<str>,
    secure: bool,
    host: Arc<str>,
    port: u16,
    target: Arc<str>,
}

/// Why a text is no such URL.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidKeyUrl {
    /// Not an absolute URL.
    #[error("is not an absolute URL such as https://issuer.example/keys")]
    NotAbsolute,
    /// Another scheme.
    #[error("has a scheme other than http and https")]
    Scheme,
    /// `user:password@`.
    #[error("holds a user name or password; give none")]
    UserInfo,
}

impl KeyUrl {
    /// Reads a URL. A fragment is not part of what is fetched, and is dropped.
    pub fn parse(text: &str) -> Result<Self, InvalidKeyUrl> {
        let text = text.split('#').next().unwrap_or_default();
        let uri: http::Uri = text.parse().map_err(|_| InvalidKeyUrl::NotAbsolute)?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) => return Err(InvalidKeyUrl::Scheme),
            None => return Err(InvalidKeyUrl::NotAbsolute),
        };
        let authority = uri.authority().ok_or(InvalidKeyUrl::NotAbsolute)?;
        if authority.as_str().contains('@') {
            return Err(InvalidKeyUrl::UserInfo);
        }
        let host = authority.host();
        let has_port = authority.as_str().len() > host.len();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || (has_port && authority.port_u16().is_none()) {
            return Err(InvalidKeyUrl::NotAbsolute);
        }
        Ok(Self {
            secure,
            host: host.to_ascii_lowercase().into(),
            port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            target: uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).into(),
            text: text.into(),
        })
    }

    /// Whether TLS is used.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Host, lower case; an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Host and port as `Host` and `CONNECT` name them.
    pub fn authority(&self) -> String {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]:{}", self.port),
            _ => format!("{}:{}", self.host, self.port),
        }
    }

    /// Whether scheme, host and port are the same.
    pub fn has_origin_of(&self, other: &Self) -> bool {
        (self.secure, &self.host, self.port) == (other.secure, &other.host, other.port)
    }

    /// The URL that `Location: text` names, seen from here.
    pub fn join(&self, text: &str) -> Result<Self, InvalidKeyUrl> {
        if !text.starts_with('/') || text.starts_with("//") {
            return Self::parse(text);
        }
        let scheme = if self.secure { "https" } else { "http" };
        Self::parse(&format!("{scheme}://{}{text}", self.authority()))
    }
}

impl fmt::Display for KeyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Where a key set lies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyPlace {
    /// Behind a URL (`jwksUri`).
    Url(KeyUrl),
    /// Behind the `jwks_uri` of this OpenID Provider metadata document.
    Discovery(KeyUrl),
    /// In a file of this machine.
    File(Arc<Path>),
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) | Self::Discovery(url) => url.fmt(f),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// How keys may be fetched.
#[derive(Clone)]
pub struct FetchOptions {
    /// Loopback and private addresses are allowed too.
    pub allow_private: bool,
    /// The only certificate authorities to trust, as PEM; none: those of the daemon.
    pub authorities: Option<Arc<str>>,
    /// HTTP proxy to CONNECT through.
    pub proxy: Option<KeyUrl>,
    /// Certificate to present.
    pub client_certificate: Option<Certificate>,
    /// No fetch sooner than this after a good one, whatever `Cache-Control` says.
    pub floor: Duration,
    /// No later than this.
    pub ceiling: Duration,
    /// Unknown key ids cause at most one fetch in this time.
    pub window: Duration,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            allow_private: false,
            authorities: None,
            proxy: None,
            client_certificate: None,
            floor: Duration::from_mins(1),
            ceiling: Duration::from_hours(1),
            window: Duration::from_secs(30),
        }
    }
}

impl FetchOptions {
    fn parts(&self) -> impl Eq + '_ {
        let key = self.client_certificate.as_ref().map(|c| (&c.secret, &c.key.cert));
        (
            self.allow_private,
            &self.authorities,
            &self.proxy,
            key,
            (self.floor, self.ceiling, self.window),
        )
    }
}

impl PartialEq for FetchOptions {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for FetchOptions {}

impl fmt::Debug for FetchOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchOptions")
            .field("allow_private", &self.allow_private)
            .field("authorities", &self.authorities.is_some())
            .field("proxy", &self.proxy.as_ref().map(ToString::to_string))
            .field("client_certificate", &self.client_certificate.as_ref().map(|c| &c.secret))
            .field("floor", &self.floor)
            .field("ceiling", &self.ceiling)
            .field("window", &self.window)
            .finish()
    }
}

/// The keys of an issuer, somewhere else.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemoteKeys {
    /// Issuer.
    pub issuer: Arc<str>,
    /// Where they lie.
    pub place: KeyPlace,
    /// Longest time for one document.
    pub timeout: Duration,
    /// How they may be fetched.
    pub options: FetchOptions,
}

macro_rules! outcomes {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal;)+) => {
        /// How a fetch went.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum FetchOutcome { $($(#[doc = $doc])+ $name,)+ }

        impl FetchOutcome {
            /// Every outcome.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The word for it, in metrics and logs.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }
        }
    };
}

outcomes! {
    /// A usable key set.
    Fetched = "fetched";
    /// The address is one that keys are not fetched from.
    Address = "address_refused";
    /// The name does not resolve.
    Resolve = "resolve_failed";
    /// No connection.
    Connect = "connect_failed";
    /// No TLS, or a certificate that is not trusted.
    Tls = "tls_failed";
    /// Not in time.
    Timeout = "timeout";
    /// A broken exchange.
    Protocol = "protocol_error";
    /// A status other than 200.
    Status = "bad_status";
    /// A redirect to another host, or too many.
    Redirect = "redirect_refused";
    /// A document over the size limit.
    TooLarge = "too_large";
    /// No key set, or none with a usable key.
    Content = "bad_content";
    /// The file cannot be read.
    File = "file_unreadable";
}

/// How the keys of one source are doing.
#[derive(Debug)]
pub struct KeyFeed {
    /// Issuer, for observers.
    pub issuer: Arc<str>,
    /// Where the keys come from, for observers.
    pub place: Arc<str>,
    wanted: AtomicBool,
    /// When the set in force was fetched, in seconds since the Unix epoch; 0: no set.
    fetched_at: AtomicU64,
    usable: AtomicU64,
    skipped: AtomicU64,
    outcomes: [AtomicU64; FetchOutcome::ALL.len()],
    /// Position of the last outcome in [`FetchOutcome::ALL`]; beyond: none yet.
    last: AtomicU8,
}

impl KeyFeed {
    /// Of a source, without keys.
    pub fn new(source: &RemoteKeys) -> Self {
        Self {
            issuer: Arc::clone(&source.issuer),
            place: source.place.to_string().into(),
            wanted: AtomicBool::new(false),
            fetched_at: AtomicU64::new(0),
            usable: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            outcomes: Default::default(),
            last: AtomicU8::new(u8::MAX),
        }
    }

    /// Says that a token named a key that is not in the set. Called by workers, any number of
    /// times.
    pub fn want(&self) {
        // Reading first keeps the cache line shared while a flood goes on.
        if !self.wanted.load(Ordering::Relaxed) {
            self.wanted.store(true, Ordering::Relaxed);
        }
    }

    /// Whether somebody wants a key that is not there.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// A fetch begins; wishes from here on are for the next one.
    pub fn begin(&self) {
        self.wanted.store(false, Ordering::Relaxed);
    }

    /// Notes how a fetch went.
    pub fn note(&self, outcome: FetchOutcome) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
        self.last.store(outcome as u8, Ordering::Relaxed);
    }

    /// Notes the set in force.
    pub fn keys(&self, usable: usize, skipped: usize, fetched_at: u64) {
        self.usable.store(usable as u64, Ordering::Relaxed);
        self.skipped.store(skipped as u64, Ordering::Relaxed);
        self.fetched_at.store(fetched_at, Ordering::Relaxed);
    }

    /// When the set in force was fetched, in seconds since the Unix epoch; none: no set.
    pub fn fetched_at(&self) -> Option<u64> {
        Some(self.fetched_at.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }

    /// Usable keys in the set in force.
    pub fn usable(&self) -> u64 {
        self.usable.load(Ordering::Relaxed)
    }

    /// Keys of the set that are left out.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Fetches with an outcome.
    pub fn count(&self, outcome: FetchOutcome) -> u64 {
        self.outcomes[outcome as usize].load(Ordering::Relaxed)
    }

    /// How the last fetch went; none: none has ended yet.
    pub fn last(&self) -> Option<FetchOutcome> {
        FetchOutcome::ALL.get(usize::from(self.last.load(Ordering::Relaxed))).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, expected) in [
            ("https://a.test/k?v=1#x", Ok("true a.test 443 /k?v=1")),
            ("http://A.test:8080", Ok("false a.test 8080 /")),
            ("https://[::1]:8443/k", Ok("true ::1 8443 /k")),
            ("/keys", Err(InvalidKeyUrl::NotAbsolute)),
            ("issuer@example.test", Err(InvalidKeyUrl::NotAbsolute)),
            ("ftp://a.test/k", Err(InvalidKeyUrl::Scheme)),
            ("https://u:p@a.test/k", Err(InvalidKeyUrl::UserInfo)),
            ("https://a.test:99999/k", Err(InvalidKeyUrl::NotAbsolute)),
            ("", Err(InvalidKeyUrl::NotAbsolute)),
        ] {
            let url = KeyUrl::parse(text);
            let parts = url.map(|u| format!("{} {} {} {}", u.secure, u.host, u.port, u.target));
            assert_eq!(parts, expected.map(str::to_owned), "{text:?}");
        }
    }

    #[test]
    fn redirects_are_seen_from_here() {
        let url = KeyUrl::parse("https://[::1]:8443/k").unwrap();
        let joined = url.join("/other").unwrap();
        assert!(joined.has_origin_of(&url) && joined.target() == "/other");
        assert!(!url.join("http://[::1]:8443/k").unwrap().has_origin_of(&url));
        assert!(url.join("//evil.test/k").is_err());
    }

    #[test]
    fn a_feed_counts_and_remembers() {
        let source = RemoteKeys {
            issuer: "i".into(),
            place: KeyPlace::File(Path::new("/k").into()),
            timeout: Duration::from_secs(1),
            options: FetchOptions::default(),
        };
        let feed = KeyFeed::new(&source);
        assert_eq!((feed.last(), feed.fetched_at()), (None, None));
        feed.want();
        assert!(feed.is_wanted());
        feed.begin();
        assert!(!feed.is_wanted());
        feed.note(FetchOutcome::File);
        assert_eq!((feed.last(), feed.count(FetchOutcome::File)), (Some(FetchOutcome::File), 1));
    }
}
