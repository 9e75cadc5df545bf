//! The recorded corpus of a real Envoy configured as Istio does it: reading it, replaying a request
//! and comparing the outcome. The rules of comparison are those of the corpus' own README.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::environment::is_ci;
use crate::manifests::root;
use crate::origin::Seen;
use crate::raw::{Response, bytes};

/// One case: manifests and requests.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// Name.
    pub name: String,
    /// YAML documents.
    pub manifests: String,
    /// Requests in order.
    pub requests: Vec<Request>,
}

/// One request with its recorded outcome. Strings are Latin-1.
#[derive(Clone, Debug, Deserialize)]
pub struct Request {
    /// Name.
    pub name: String,
    /// Method.
    pub method: String,
    /// Target, as sent.
    pub target: String,
    /// Version, where it is not HTTP/1.1.
    pub version: Option<String>,
    /// Header lines in order; a value of none is sent as nothing after the colon.
    pub headers: Vec<(String, Option<String>)>,
    /// Body.
    pub body: Option<String>,
    /// Address that the client binds to.
    pub client_ip: Option<String>,
    /// Requests with the same label share a connection.
    pub conn: Option<String>,
    /// Why a careful gateway may decide differently.
    pub quirk: Option<String>,
    /// The outcome.
    pub expect: Expect,
}

/// A recorded outcome.
#[derive(Clone, Debug, Deserialize)]
pub struct Expect {
    /// Status.
    pub status: u16,
    /// Body.
    pub body: String,
    /// Headers worth comparing.
    pub headers: BTreeMap<String, Values>,
    /// What the upstream saw; none: nothing.
    pub upstream: Option<ExpectUpstream>,
}

/// What the upstream saw.
#[derive(Clone, Debug, Deserialize)]
pub struct ExpectUpstream {
    /// Method.
    pub method: String,
    /// Target.
    pub path: String,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, Values>,
    /// Body.
    #[serde(default)]
    pub body: String,
}

/// One line of a header, or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Values {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Values {
    /// Several lines mean the same as one joined line.
    fn joined(&self, name: &str) -> String {
        match self {
            Self::One(value) => value.clone(),
            Self::Many(values) => values.join(if name == "cookie" { "; " } else { "," }),
        }
    }
}

/// Reads every case of `../shared/conformance`; none where the folder is absent and this is not CI.
pub fn cases() -> Result<Option<Vec<Case>>> {
    let folder = root().join("../shared/conformance");
    if !folder.is_dir() {
        if is_ci() {
            bail!("{} is absent: CI needs the recorded corpus", folder.display());
        }
        eprintln!("{} is absent: the recorded corpus is not replayed", folder.display());
        return Ok(None);
    }
    let mut paths: Vec<_> = fs::read_dir(&folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let read = |path: std::path::PathBuf| {
        serde_json::from_str(&fs::read_to_string(&path)?)
            .with_context(|| path.display().to_string())
    };
    Ok(Some(paths.into_iter().map(read).collect::<Result<_>>()?))
}

impl Request {
    /// The bytes of the request.
    pub fn bytes(&self, port: u16) -> Vec<u8> {
        let fill = |text: &str| text.replace("@PORT@", &port.to_string());
        let version = self.version.as_deref().unwrap_or("HTTP/1.1");
        let mut text = format!("{} {} {version}\r\n", self.method, fill(&self.target));
        for (name, value) in &self.headers {
            text += name;
            text += ":";
            if let Some(value) = value {
                text += " ";
                text += &fill(value);
            }
            text += "\r\n";
        }
        let framed = self.headers.iter().any(|(name, _)| {
            ["content-length", "transfer-encoding"].contains(&name.to_ascii_lowercase().as_str())
        });
        if let Some(body) = &self.body
            && !framed
        {
            text += "content-length: ";
            text += &bytes(body).len().to_string();
            text += "\r\n";
        }
        text += "\r\n";
        text += self.body.as_deref().unwrap_or_default();
        bytes(&text)
    }
}

/// Compares an outcome with the recorded one; each difference is a line.
pub fn compare(case: &Case, request: &Request, got: &Response, seen: &[Seen]) -> Vec<String> {
    let expect = &request.expect;
    let mut differences = Vec::new();
    let mut same = |what: &str, want: Option<&str>, got: Option<&str>| {
        if want != got {
            differences.push(format!("{what}: expected {want:?}, got {got:?}"));
        }
    };
    same("status", Some(&expect.status.to_string()), Some(&got.status.to_string()));
    let named = |name: &str| expect.headers.get(name).map(|values| values.joined(name));
    if matches!(expect.status, 401 | 403) {
        same("body", Some(&expect.body), Some(&got.body));
        for name in ["content-type", "www-authenticate", "content-length"] {
            same(name, named(name).as_deref(), got.header(name));
        }
    } else if expect.upstream.is_some() {
        same("content-type", named("content-type").as_deref(), got.header("content-type"));
        same("body", Some(&expect.body), Some(&got.body));
    }
    match (&expect.upstream, seen.first()) {
        (None, None) => {}
        (Some(want), Some(seen)) => {
            same("upstream method", Some(&want.method), Some(&seen.method));
            same("upstream path", Some(&want.path), Some(&seen.target));
            same("upstream body", Some(&want.body), Some(&seen.body));
            compare_headers(case, request, want, seen, &mut same);
        }
        (want, seen) => differences.push(format!(
            "upstream reached: expected {}, got {}",
            want.is_some(),
            seen.is_some()
        )),
    }
    differences
}

fn compare_headers(
    case: &Case,
    request: &Request,
    want: &ExpectUpstream,
    seen: &Seen,
    same: &mut impl FnMut(&str, Option<&str>, Option<&str>),
) {
    let joined = |name: &str| {
        let values = seen.values(name);
        (!values.is_empty()).then(|| values.join(if name == "cookie" { "; " } else { "," }))
    };
    for (name, values) in &want.headers {
        let what = format!("upstream header {name}");
        same(&what, Some(&values.joined(name)), joined(name).as_deref());
    }
    let significant = significant_headers(case, request);
    for (name, value) in &seen.headers {
        if !want.headers.contains_key(name) && !ignored(name) && significant.contains(name) {
            same(&format!("upstream header {name}"), None, Some(value));
        }
    }
}

/// Headers whose presence upstream matters although the outcome does not list them: those that the
/// client sent, and those that the manifests name as output.
fn significant_headers(case: &Case, request: &Request) -> Vec<String> {
    let mut names: Vec<String> =
        request.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    for key in ["outputPayloadToHeader", "header"] {
        for (at, _) in case.manifests.match_indices(key) {
            let rest =
                case.manifests[at + key.len()..].trim_start_matches(['"', '\'']).trim_start();
            if let Some(rest) = rest.strip_prefix(':') {
                let rest = rest.trim_start().trim_start_matches(['"', '\'']);
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_-".contains(c)));
                names.push(rest[..end.unwrap_or(rest.len())].to_ascii_lowercase());
            }
        }
    }
    names
}

/// Headers that are never compared.
fn ignored(name: &str) -> bool {
    const NAMES: [&str; 18] = [
        "x-request-id",
        "via",
        "server",
        "date",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "traceparent",
        "tracestate",
        "b3",
        "forwarded",
        "expect",
        "proxy-connection",
    ];
    NAMES.contains(&name)
        || ["x-envoy-", "x-forwarded-", "proxy-", "x-b3-"].iter().any(|p| name.starts_with(p))
}

/// The Gateway, HTTPRoute, Service and EndpointSlice that every case stands on.
pub fn base(port: u16, upstream: std::net::SocketAddr) -> String {
    crate::manifests::base(&crate::manifests::http_listener("http", port), upstream)
}
