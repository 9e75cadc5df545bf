//! Cases of the corpus, and how outcomes are compared: `replay.py`'s `compare`, for outcomes that
//! never saw a socket.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

/// One case.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) manifests: String,
    pub(crate) requests: Vec<Request>,
}

/// One request with its recorded outcome. Texts are Latin-1: one character is one byte.
pub(crate) struct Request {
    pub(crate) name: String,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) client_ip: String,
    pub(crate) is_quirk: bool,
    pub(crate) expected: Outcome,
}

/// What became of a request.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) status: u64,
    /// Of refusals by token or policy.
    pub(crate) body: String,
    /// Of refusals by token or policy: the headers that are compared.
    pub(crate) headers: BTreeMap<String, String>,
    /// None: the upstream never saw it.
    pub(crate) upstream: Option<Upstream>,
}

/// What the upstream saw.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Upstream {
    pub(crate) method: String,
    pub(crate) path: String,
    /// One line each, joined where there were several.
    pub(crate) headers: BTreeMap<String, String>,
}

/// The listener port that `@PORT@` stands for.
pub(crate) const PORT: u16 = 18080;

/// Headers of refusals that are compared.
const REFUSAL_HEADERS: [&str; 3] = ["content-type", "www-authenticate", "content-length"];

/// Headers that are never compared upstream.
const IGNORED: [&str; 22] = [
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
    "x-envoy-",
    "x-forwarded-",
    "proxy-",
    "x-b3-",
    "\0",
];

fn is_ignored(name: &str) -> bool {
    IGNORED.iter().any(|i| name == *i || (i.ends_with('-') && name.starts_with(i)))
}

impl Case {
    /// Every case; none where the corpus is not checked out beside the workspace, which only a
    /// machine that is not CI may lack.
    pub(crate) fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance");
        let Ok(entries) = std::fs::read_dir(&folder) else {
            let is_ci = std::env::vars().any(|(name, _)| name == "CI");
            assert!(!is_ci, "{} is missing", folder.display());
            eprintln!("{} is missing: nothing to replay", folder.display());
            return Vec::new();
        };
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|e| e == "json"));
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let requests = value["requests"].as_array().unwrap();
        Self {
            name: string(&value["name"]),
            manifests: with_port(&string(&value["manifests"])),
            requests: requests.iter().map(Request::read).collect(),
        }
    }

    /// Names of headers whose presence upstream means something: sent, or named as outputs.
    fn significant(&self, request: &Request) -> BTreeSet<String> {
        let mut names: BTreeSet<_> =
            request.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        for line in self.manifests.lines() {
            let line = line.trim().trim_start_matches("- ");
            let name = line.strip_prefix("outputPayloadToHeader:").or(line.strip_prefix("header:"));
            names.extend(name.map(|n| n.trim().trim_matches(['"', '\'']).to_ascii_lowercase()));
        }
        names
    }
}

impl Request {
    fn read(value: &Value) -> Self {
        let pair = |pair: &Value| (string(&pair[0]), with_port(&string(&pair[1])));
        let mut headers: Vec<_> = value["headers"].as_array().unwrap().iter().map(pair).collect();
        let has = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        if let Some(body) = value["body"].as_str()
            && !has("content-length")
            && !has("transfer-encoding")
        {
            headers.push(("content-length".to_owned(), body.chars().count().to_string()));
        }
        Self {
            name: string(&value["name"]),
            method: string(&value["method"]),
            target: with_port(&string(&value["target"])),
            headers,
            client_ip: value["client_ip"].as_str().unwrap_or("127.0.0.1").to_owned(),
            is_quirk: !value["quirk"].is_null(),
            expected: Outcome::read(&value["expect"]),
        }
    }
}

impl Outcome {
    fn read(value: &Value) -> Self {
        let upstream = &value["upstream"];
        Self {
            status: value["status"].as_u64().unwrap(),
            body: string(&value["body"]),
            headers: lines(&value["headers"]),
            upstream: (!upstream.is_null()).then(|| Upstream {
                method: string(&upstream["method"]),
                path: string(&upstream["path"]),
                headers: lines(&upstream["headers"]),
            }),
        }
    }
}

/// Differences between what was recorded and what happened.
pub(crate) fn compare(case: &Case, request: &Request, got: &Outcome) -> Vec<String> {
    let expected = &request.expected;
    let mut differences = Differences(Vec::new());
    differences.note("status", &expected.status, &got.status);
    if matches!(expected.status, 401 | 403) {
        differences.note("body", &expected.body, &got.body);
        for name in REFUSAL_HEADERS {
            differences.note(name, &expected.headers.get(name), &got.headers.get(name));
        }
    }
    match (&expected.upstream, &got.upstream) {
        (Some(e), Some(g)) => {
            differences.note("method", &e.method, &g.method);
            differences.note("path", &e.path, &g.path);
            for (name, value) in &e.headers {
                differences.note(name, &Some(value), &g.headers.get(name));
            }
            let significant = case.significant(request);
            let added = |name: &&String| {
                significant.contains(*name) && !e.headers.contains_key(*name) && !is_ignored(name)
            };
            for name in g.headers.keys().filter(added) {
                differences.note(name, &None, &g.headers.get(name));
            }
        }
        (e, g) => differences.note("upstream reached", &e.is_some(), &g.is_some()),
    }
    differences.0
}

struct Differences(Vec<String>);

impl Differences {
    fn note<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, expected: &T, got: &T) {
        if expected != got {
            self.0.push(format!("{what}: expected {expected:?}, got {got:?}"));
        }
    }
}

/// Several lines of one header as one.
pub(crate) fn join(name: &str, lines: &[String]) -> String {
    lines.join(if name == "cookie" { "; " } else { "," })
}

fn lines(headers: &Value) -> BTreeMap<String, String> {
    let line = |(name, value): (&String, &Value)| {
        let lines = match value.as_array() {
            Some(lines) => lines.iter().map(string).collect(),
            None => vec![string(value)],
        };
        (name.clone(), join(name, &lines))
    };
    headers.as_object().into_iter().flatten().map(line).collect()
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn with_port(text: &str) -> String {
    text.replace("@PORT@", &PORT.to_string())
}
