//! `explain`: one request walked through the data path's own code, offline, and told stage by stage
//! and rule by rule.
//!
//! What the walk leaves out is left out here too (see `proxy/walk.rs`); of the handshake only the
//! choice of listener by server name is looked at.

mod render;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;

use super::input::{self, Configuration, InputError, Url};
use super::shown::{shown, shown_bytes};
use crate::authn::{RuleVerdict, TokenVerdict};
use crate::authz::{DecidedBy, RuleTrace};
use crate::cli::ConfigArgs;
use crate::cli::tools::ExplainArgs;
use crate::clock;
use crate::model::ext_authz::Provider;
use crate::model::identity::Identity;
use crate::model::listener::Protocol;
use crate::model::object::ObjectRef;
use crate::model::topology::{Proxies, ProxyFault};
use crate::proxy::{self, End, Placed, Walk};
use crate::request::{ConnMeta, Proxied, Scheme};
use crate::snapshot::{Port, Snapshot};

/// A request explained.
#[derive(Debug, Serialize)]
pub struct Explanation {
    request: RequestTold,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<PlaceTold>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    providers: Vec<ProviderTold>,
    tokens: Vec<TokenRuleTold>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    notes: Vec<&'static str>,
    policies: Vec<PolicyTold>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_by: Option<String>,
    outcome: Outcome,
    /// Objects of the configuration that have no effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    configuration_errors: Vec<String>,
}

#[derive(Debug, Serialize)]
struct RequestTold {
    method: String,
    scheme: &'static str,
    authority: String,
    path: String,
    query: Option<String>,
    client: IpAddr,
    /// The other end of the connection, where that is not the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<IpAddr>,
    server_name: Option<String>,
}

#[derive(Debug, Serialize)]
struct PlaceTold {
    listener: Option<String>,
    gateway: String,
    route: Option<String>,
    path_pattern: Option<String>,
}

#[derive(Debug, Serialize)]
struct TokenRuleTold {
    rule: String,
    issuer: String,
    looks_in: Vec<String>,
    found: Vec<TokenTold>,
}

#[derive(Debug, Serialize)]
struct TokenTold {
    place: String,
    accepted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// A provider that has to be asked, and was not.
#[derive(Debug, Serialize)]
struct ProviderTold {
    provider: String,
    service: String,
    /// The rule that wants it.
    asked_by: String,
    /// What happens where it gives no answer.
    without_answer: String,
}

#[derive(Debug, Serialize)]
struct PolicyTold {
    policy: String,
    rule: usize,
    action: &'static str,
    /// Counts for the outcome; otherwise an AUDIT policy or one in dry run.
    decides: bool,
    matches: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    does_not_match: Vec<String>,
}

/// How it ends.
#[derive(Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
enum Outcome {
    Forwarded {
        service: String,
        port: u16,
        endpoints: Vec<SocketAddr>,
        method: String,
        target: String,
        headers: Vec<(String, String)>,
    },
    Refused {
        reason: &'static str,
        status: u16,
        headers: Vec<(String, String)>,
        body: String,
    },
    /// No handshake is begun.
    ConnectionClosed {
        reason: &'static str,
    },
    /// No request is read.
    HandshakeRefused {
        text: String,
    },
}

/// Explains a request.
pub fn run(arguments: &ExplainArgs) -> Result<Explanation, InputError> {
    let flag = "--request";
    let (method, url) = arguments.request.trim().split_once(' ').ok_or_else(|| {
        InputError::word(flag, &arguments.request, "use `METHOD URL`, such as `GET https://host/`")
    })?;
    let url = Url::parse(flag, url.trim())?;
    let token = arguments.token_file.as_deref().map(input::token).transpose()?;
    let head = input::head(method, &url, &arguments.header, token.as_deref())?;
    let ConfigArgs { config, ignore_kind, trusted_proxy } = &arguments.config;
    let proxies = Some(Proxies::new(trusted_proxy));
    let configuration = Configuration::read(config, ignore_kind, proxies, &arguments.keys)?;
    answer(
        &configuration,
        Question {
            url: &url,
            head,
            port: arguments.port,
            address: arguments.address,
            peer: Some(arguments.peer),
            client: arguments.client,
        },
    )
}

/// A request in question.
pub(super) struct Question<'q> {
    pub(super) url: &'q Url,
    pub(super) head: http::request::Parts,
    /// The listener's port, if not the URL's.
    pub(super) port: Option<u16>,
    /// The address of ours that it is sent to; one of the port's if nobody says.
    pub(super) address: Option<IpAddr>,
    /// The other end of the connection; this machine, if nobody says, and then whatever the port
    /// wants of it is taken for granted.
    pub(super) peer: Option<IpAddr>,
    /// The client as a PROXY header says it.
    pub(super) client: Option<IpAddr>,
}

/// Explains a request to a configuration.
pub(super) fn answer(
    configuration: &Configuration,
    question: Question<'_>,
) -> Result<Explanation, InputError> {
    let Question { url, head, .. } = question;
    let snapshot = &configuration.snapshot;
    let number = question.port.unwrap_or_else(|| url.port());
    let port = port(snapshot, number, question.address, url.scheme)?;
    let local = SocketAddr::new(question.address.unwrap_or_else(|| address(port)), number);
    let mut conn = conn(url, local, question.peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    conn.proxied = proxied(port, &conn, question.client)?;
    let request = RequestTold {
        method: shown(head.method.as_str()),
        scheme: url.scheme.as_str(),
        authority: shown(url.authority.as_str()),
        path: shown(url.target.path()),
        query: url.target.query().map(shown),
        client: conn.client().ip(),
        peer: (conn.client() != conn.peer).then_some(conn.peer.ip()),
        server_name: conn.sni.as_deref().map(shown),
    };
    let untrusted =
        port.proxy_protocol && question.peer.is_some_and(|peer| !snapshot.proxies.has(peer));
    let mut explanation = if untrusted {
        Explanation::new(
            request,
            Outcome::ConnectionClosed { reason: ProxyFault::Untrusted.word() },
        )
    } else if let Some(text) = handshake_refusal(port, &conn) {
        Explanation::new(request, Outcome::HandshakeRefused { text })
    } else {
        let (walk, end) = proxy::walk(snapshot, &conn, head, clock::unix_now());
        tell(request, walk, end)
    };
    explanation.configuration_errors.clone_from(&configuration.errors);
    Ok(explanation)
}

impl Explanation {
    fn new(request: RequestTold, outcome: Outcome) -> Self {
        Self {
            request,
            place: None,
            providers: Vec::new(),
            tokens: Vec::new(),
            identity: None,
            notes: Vec::new(),
            policies: Vec::new(),
            decided_by: None,
            outcome,
            configuration_errors: Vec::new(),
        }
    }

    /// Whether the upstream gets the request: the exit status.
    pub fn is_forwarded(&self) -> bool {
        matches!(self.outcome, Outcome::Forwarded { .. })
    }

    /// The status of a refusal.
    pub(super) fn status(&self) -> Option<StatusCode> {
        match &self.outcome {
            Outcome::Refused { status, .. } => StatusCode::from_u16(*status).ok(),
            _ => None,
        }
    }

    /// The outcome in a few words.
    pub(super) fn in_short(&self) -> String {
        match &self.outcome {
            Outcome::Forwarded { service, .. } => format!("it is forwarded to {service}"),
            Outcome::Refused { reason, .. } => match &self.decided_by {
                Some(by) => format!("{reason} ({by})"),
                None => (*reason).to_owned(),
            },
            Outcome::ConnectionClosed { reason } => (*reason).to_owned(),
            Outcome::HandshakeRefused { text } => text.clone(),
        }
    }

    /// As JSON.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }
}

/// The port that the request arrives at.
fn port(
    snapshot: &Snapshot,
    number: u16,
    address: Option<IpAddr>,
    scheme: Scheme,
) -> Result<&Arc<Port>, InputError> {
    let wrong = |problem: String| InputError::word("--port", &number.to_string(), problem);
    let word = |port: &Port| match port.protocol {
        Protocol::Http => "http",
        Protocol::Https => "https",
    };
    let port = match (address, snapshot.ports.at(number)) {
        (Some(address), _) => snapshot.ports.find(SocketAddr::new(address, number)),
        (None, [port]) => Some(port),
        (None, []) => None,
        (None, ports) => {
            let known: Vec<_> = ports.iter().map(|port| address_of(port)).collect();
            return Err(wrong(format!(
                "several Gateways have this port, at addresses of their own: say which by --address \
                 (explain) or --connect (verify); there are {}",
                known.join(", ")
            )));
        }
    };
    let Some(port) = port else {
        let known = snapshot.ports.each();
        let known: Vec<_> =
            known.iter().map(|port| format!("{} ({})", port.numbers, word(port))).collect();
        return Err(wrong(format!("no listener has this port; there are {}", known.join(", "))));
    };
    if word(port) != scheme.as_str() {
        let word = word(port);
        return Err(wrong(format!(
            "its listeners speak {word}; use a URL that begins with {word}://"
        )));
    }
    Ok(port)
}

/// An address that a port listens on.
fn address(port: &Port) -> IpAddr {
    port.addresses.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn address_of(port: &Port) -> String {
    port.addresses.first().map_or_else(|| "any other".to_owned(), ToString::to_string)
}

fn conn(url: &Url, local: SocketAddr, peer: IpAddr) -> ConnMeta {
    // Clients send names as server name, and never addresses (RFC 6066 3).
    let is_name = url.scheme == Scheme::Https && url.host().parse::<IpAddr>().is_err();
    ConnMeta {
        peer: SocketAddr::new(peer, 0),
        local,
        scheme: url.scheme,
        sni: is_name.then(|| url.host().to_ascii_lowercase().into()),
        proxied: None,
    }
}

/// What the PROXY header says, where the port expects one.
fn proxied(
    port: &Port,
    conn: &ConnMeta,
    client: Option<IpAddr>,
) -> Result<Option<Box<Proxied>>, InputError> {
    if !port.proxy_protocol {
        let problem = "the port expects no PROXY header: leave it out, or use --header \
                       \"X-Forwarded-For: IP\" where the Gateway trusts that";
        return match client {
            Some(client) => Err(InputError::word("--client", &client.to_string(), problem)),
            None => Ok(None),
        };
    }
    let source = client.map_or(conn.peer, |client| SocketAddr::new(client.to_canonical(), 0));
    Ok(Some(Box::new(Proxied { source, client: source, headers: false })))
}

/// Why the handshake fails: no listener answers to the server name.
fn handshake_refusal(port: &Port, conn: &ConnMeta) -> Option<String> {
    if conn.scheme == Scheme::Http {
        return None;
    }
    match &conn.sni {
        Some(name) if port.listener(name).is_none() => Some(format!(
            "no listener of port {} has the server name {}",
            port.numbers,
            shown(name)
        )),
        None if port.listeners.iter().all(|listener| listener.hostname.is_some()) => {
            Some(format!("every listener of port {} wants a server name", port.numbers))
        }
        _ => None,
    }
}

fn tell(mut request: RequestTold, walk: Walk, end: End) -> Explanation {
    if let Some(read) = &walk.read {
        request.authority = shown(&read.authority);
        request.path = shown(&read.path);
        request.query = read.query.as_deref().map(shown);
    }
    if let Some(client) = walk.client.filter(|client| *client != request.client) {
        request.peer.get_or_insert(request.client);
        request.client = client;
    }
    let mut notes = Vec::new();
    if !walk.providers.is_empty() {
        notes.push(
            "nobody was asked: what follows holds if every provider allows and changes nothing",
        );
    }
    if walk.tokens_ignored {
        notes.push("a CORS preflight or an exempt path: tokens are not looked at, good or bad");
    } else if walk.place.is_some() && walk.tokens.iter().all(|rule| rule.tokens.is_empty()) {
        notes.push("no token: the request has no identity, and policies decide");
    }
    if walk.allows_by_policy {
        notes.push("ALLOW policies exist: one of them has to match");
    }
    let mut explanation = Explanation::new(request, outcome(end));
    explanation.place = walk.place.map(placed);
    explanation.providers = walk.providers.iter().map(provider).collect();
    explanation.tokens = walk.tokens.into_iter().map(token_rule).collect();
    explanation.identity = walk.identity.map(|identity| shown(&principal(&identity)));
    explanation.notes = notes;
    explanation.policies = walk.rules.into_iter().map(policy).collect();
    explanation.decided_by = walk.decided_by.map(|by| decider(&by));
    explanation
}

/// `issuer/subject`.
fn principal(identity: &Identity) -> String {
    format!("{}/{}", identity.issuer, identity.subject.as_deref().unwrap_or_default())
}

fn placed(place: Placed) -> PlaceTold {
    PlaceTold {
        listener: place.listener.map(|label| label.to_string()),
        gateway: place.gateway.to_string(),
        route: place.route.map(|(route, rule)| format!("{route}: rules[{rule}]")),
        path_pattern: place.path_pattern,
    }
}

fn provider((provider, asked_by): &(Arc<Provider>, Arc<DecidedBy>)) -> ProviderTold {
    let upstream = &provider.upstream;
    ProviderTold {
        provider: provider.object.to_string(),
        service: format!("{}, port {}", upstream.service, upstream.port),
        asked_by: decider(asked_by),
        without_answer: if provider.fail_open {
            "passes".to_owned()
        } else {
            format!("is refused with {}", provider.status_on_error.as_u16())
        },
    }
}

fn token_rule(verdict: RuleVerdict) -> TokenRuleTold {
    TokenRuleTold {
        rule: verdict.rule.to_string(),
        issuer: shown(&verdict.issuer),
        looks_in: verdict.places,
        found: verdict.tokens.into_iter().map(token).collect(),
    }
}

fn token(verdict: TokenVerdict) -> TokenTold {
    let refusal = verdict.outcome.err();
    TokenTold {
        place: verdict.place,
        accepted: refusal.is_none(),
        reason: refusal.as_ref().map(|refusal| refusal.reason.word()),
        text: refusal.map(|refusal| refusal.text.to_owned()),
    }
}

fn policy(trace: RuleTrace) -> PolicyTold {
    PolicyTold {
        policy: trace.name.policy.to_string(),
        rule: trace.name.rule,
        action: trace.action.word(),
        decides: !trace.shadow,
        matches: trace.obstacles.is_empty(),
        does_not_match: trace.obstacles,
    }
}

fn decider(by: &DecidedBy) -> String {
    let object: &ObjectRef = &by.policy;
    format!("{object}: rules[{}]", by.rule)
}

fn outcome(end: End) -> Outcome {
    match end {
        End::Forwarded { head, upstream } => Outcome::Forwarded {
            service: upstream.service.to_string(),
            port: upstream.port,
            endpoints: upstream.endpoints.clone(),
            method: head.method.to_string(),
            target: shown(head.target.as_str()),
            headers: header_lines(&head.headers),
        },
        End::Refused { reason, status, headers, body } => Outcome::Refused {
            reason: reason.word(),
            status: status.as_u16(),
            headers: header_lines(&headers),
            body: shown(&body),
        },
    }
}

fn header_lines(headers: &http::HeaderMap) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.to_string(), shown_bytes(value.as_bytes()))).collect()
}
