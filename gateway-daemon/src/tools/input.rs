//! What tools are given: a configuration, a token, a request.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gateway_common::path::PathSlot;
use http::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Uri};
use http::{HeaderMap, Method};

use crate::cli::tools::KeptKeysArgs;
use crate::control::{Prepared, Settings, StartError};
use crate::model::topology::Proxies;
use crate::request::Scheme;
use crate::snapshot::Snapshot;

/// Why a tool cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The configuration.
    #[error(transparent)]
    Configuration(#[from] StartError),
    /// The token.
    #[error("--token-file {path:?}: {error}")]
    Token {
        /// File.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A word on the command line.
    #[error("{flag} {text:?}: {problem}")]
    Word {
        /// Flag.
        flag: &'static str,
        /// Its value.
        text: String,
        /// What is wrong and what to do.
        problem: String,
    },
}

impl InputError {
    pub(super) fn word(flag: &'static str, text: &str, problem: impl Into<String>) -> Self {
        Self::Word { flag, text: text.to_owned(), problem: problem.into() }
    }
}

/// A configuration as the daemon would serve it, without counters.
pub(super) struct Configuration {
    pub(super) snapshot: Arc<Snapshot>,
    /// Objects that have no effect, each a line.
    pub(super) errors: Vec<String>,
}

impl Configuration {
    /// Reads and compiles manifests.
    pub(super) fn read(
        paths: &[PathBuf],
        ignore_kinds: &[String],
        proxies: Option<Proxies>,
        kept_keys: &KeptKeysArgs,
    ) -> Result<Self, InputError> {
        let mut settings = Settings {
            paths: paths.to_vec(),
            ignore_kinds: ignore_kinds.to_vec(),
            proxies,
            ..Settings::default()
        };
        settings.keys.state_directory = Some(kept_keys.state_directory.clone());
        let prepared = Prepared::read(settings)?;
        let errors = prepared.report().errors().collect();
        // Slots only have to differ: nothing is counted.
        let slots = |names: &[String]| (1..).map(PathSlot).take(names.len()).collect();
        let snapshot = prepared.publish(Box::new(slots)).writer().current();
        Ok(Self { snapshot, errors })
    }
}

/// Reads a token; `-` is standard input. White space around it and a `Bearer ` in front go.
pub(super) fn token(path: &Path) -> Result<String, InputError> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.map_err(|error| InputError::Token { path: path.to_owned(), error })?;
    let token = text.trim();
    Ok(token.strip_prefix("Bearer ").unwrap_or(token).trim().to_owned())
}

/// A URL taken apart.
#[derive(Clone, Debug)]
pub(super) struct Url {
    pub(super) scheme: Scheme,
    pub(super) authority: Authority,
    pub(super) target: PathAndQuery,
}

impl Url {
    /// Reads `http://` or `https://`, authority, path and query. Nothing is normalised.
    pub(super) fn parse(flag: &'static str, text: &str) -> Result<Self, InputError> {
        let wrong = |problem: &str| InputError::word(flag, text, problem);
        let parts = text.parse::<Uri>().map(Uri::into_parts);
        let parts = parts.map_err(|error| {
            wrong(&format!("{error}; use a URL such as https://gw.example.test:8443/path"))
        })?;
        let scheme = match parts.scheme.as_ref().map(http::uri::Scheme::as_str) {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            _ => return Err(wrong("the URL has to begin with http:// or https://")),
        };
        let authority = parts.authority.filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or_else(|| wrong("the URL names no host"))?;
        let target = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self { scheme, authority, target })
    }

    /// The port, the scheme's own if none is named.
    pub(super) fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(match self.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        })
    }

    /// The host without port and without the brackets of an IPv6 address.
    pub(super) fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }
}

/// The head of a request in question.
pub(super) fn head(
    method: &str,
    url: &Url,
    lines: &[String],
    token: Option<&str>,
) -> Result<http::request::Parts, InputError> {
    let mut parts = http::Request::new(()).into_parts().0;
    let named = Method::from_bytes(method.as_bytes());
    parts.method = named.map_err(|_| {
        InputError::word(
            "--request",
            method,
            "this is no method; use `METHOD URL`, such as `GET https://host/path`",
        )
    })?;
    parts.uri = Uri::from(url.target.clone());
    parts.headers = headers(lines)?;
    if !parts.headers.contains_key(HOST)
        && let Ok(host) = HeaderValue::try_from(url.authority.as_str())
    {
        parts.headers.insert(HOST, host);
    }
    if let Some(token) = token {
        let value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
            InputError::word("--token-file", "", "the token holds a character that no header can")
        })?;
        parts.headers.append(AUTHORIZATION, value);
    }
    Ok(parts)
}

/// Reads header lines.
pub(super) fn headers(lines: &[String]) -> Result<HeaderMap, InputError> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let wrong = |problem: &str| InputError::word("--header", line, problem);
        let (name, value) = line.split_once(':').ok_or_else(|| wrong("use `Name: value`"))?;
        let name = name.parse::<HeaderName>().map_err(|_| wrong("this is no header name"))?;
        let value = HeaderValue::try_from(value.trim())
            .map_err(|_| wrong("the value holds a character that no header can"))?;
        headers.append(name, value);
    }
    Ok(headers)
}
