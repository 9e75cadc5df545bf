//! `verify`: four requests to the live gateway, each with the status that it has to get, beside what
//! the configuration says about them offline. The table tells a gateway that serves another
//! configuration from a configuration that says something else than its author thinks.

mod client;

use std::fmt;
use std::net::IpAddr;

use http::StatusCode;
use http::uri::PathAndQuery;
use serde::Serialize;

use self::client::Client;
use super::explain::{self, Question};
use super::input::{self, Configuration, InputError, Url};
use super::shown::shown;
use crate::cli::ConfigArgs;
use crate::cli::tools::VerifyArgs;
use crate::model::topology::Proxies;

/// What stands for a token that is none.
const BAD_TOKEN: &str = "invalid token";

/// The row that needs the user's own token.
const WITH_TOKEN: &str = "valid token";
/// The row whose refusal a JWTPolicy may word otherwise.
const WITHOUT_TOKEN: &str = "no token";

/// The table.
#[derive(Debug, Serialize)]
pub struct Verified {
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    request: String,
    /// 200 stands for every status of success.
    expected: u16,
    /// What the configuration says: a status, or `forwarded`.
    configuration: String,
    /// The live gateway's status; none: no answer.
    live: Option<u16>,
    good: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// One row before it is run.
struct Plan {
    name: &'static str,
    path: PathAndQuery,
    token: Option<String>,
    expected: StatusCode,
}

/// Why verification cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// What was given.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The client.
    #[error("cannot set up the client: {0}")]
    Client(String),
}

/// Runs the table.
pub fn run(arguments: &VerifyArgs) -> Result<Verified, VerifyError> {
    let url = Url::parse("--url", &arguments.url)?;
    let token = arguments.token_file.as_deref().map(input::token).transpose()?;
    let ConfigArgs { config, ignore_kind, trusted_proxy } = &arguments.config;
    let proxies = Some(Proxies::new(trusted_proxy));
    let configuration = Configuration::read(config, ignore_kind, proxies, &arguments.keys)?;
    let client = Client::new(arguments, &url)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| VerifyError::Client(error.to_string()))?;
    let mut rows = Vec::new();
    for mut plan in plans(arguments, &url, token)? {
        let asked = Url { target: plan.path.clone(), ..url.clone() };
        if plan.name == WITH_TOKEN && plan.token.is_none() {
            rows.push(not_run(&plan, &asked));
            continue;
        }
        let head = || input::head("GET", &asked, &arguments.header, plan.token.as_deref());
        let address = address(arguments, &url, &configuration);
        let (port, head_asked) = (arguments.port, head()?);
        let question =
            Question { url: &asked, head: head_asked, port, address, peer: None, client: None };
        let offline = explain::answer(&configuration, question)?;
        if plan.name == WITHOUT_TOKEN && offline.status() == Some(StatusCode::UNAUTHORIZED) {
            plan.expected = StatusCode::UNAUTHORIZED; // as a JWTPolicy may have it
        }
        let live = runtime.block_on(client.status(head()?));
        rows.push(row(&plan, &asked, &offline, live));
    }
    Ok(Verified { rows })
}

impl Verified {
    /// Whether every row is as it has to be: the exit status.
    pub fn is_good(&self) -> bool {
        self.rows.iter().all(|row| row.good)
    }

    /// As JSON.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }
}

/// The gateway's address, where Gateways with addresses of their own share the port.
fn address(arguments: &VerifyArgs, url: &Url, configuration: &Configuration) -> Option<IpAddr> {
    let shared = configuration.snapshot.ports.at(arguments.port.unwrap_or_else(|| url.port()));
    let known = arguments.connect.map(|address| address.ip()).or_else(|| url.host().parse().ok());
    known.filter(|_| shared.len() > 1)
}

fn plans(
    arguments: &VerifyArgs,
    url: &Url,
    token: Option<String>,
) -> Result<[Plan; 4], InputError> {
    let path = |flag: &'static str, text: &str| {
        let problem = "use a path that begins with a slash";
        let parsed = text.parse::<PathAndQuery>().ok().filter(|_| text.starts_with('/'));
        parsed.ok_or_else(|| InputError::word(flag, text, problem))
    };
    let guarded = match &arguments.path {
        Some(text) => path("--path", text)?,
        None => url.target.clone(),
    };
    let open = path("--open-path", &arguments.open_path)?;
    let plan = |name, path: &PathAndQuery, token: Option<String>, expected| Plan {
        name,
        path: path.clone(),
        token,
        expected,
    };
    Ok([
        plan(WITH_TOKEN, &guarded, token, StatusCode::OK),
        plan(WITHOUT_TOKEN, &guarded, None, StatusCode::FORBIDDEN),
        plan("bad token", &guarded, Some(BAD_TOKEN.to_owned()), StatusCode::UNAUTHORIZED),
        plan("open path, no token", &open, None, StatusCode::OK),
    ])
}

fn not_run(plan: &Plan, url: &Url) -> Row {
    Row {
        name: plan.name,
        request: request(url),
        expected: plan.expected.as_u16(),
        configuration: "-".to_owned(),
        live: None,
        good: false,
        problem: Some("not run: give a valid token with --token-file".to_owned()),
    }
}

fn request(url: &Url) -> String {
    shown(&format!("GET {}://{}{}", url.scheme.as_str(), url.authority, url.target))
}

fn row(
    plan: &Plan,
    url: &Url,
    offline: &explain::Explanation,
    live: Result<StatusCode, String>,
) -> Row {
    let agrees = |status: StatusCode| {
        status == plan.expected || plan.expected == StatusCode::OK && status.is_success()
    };
    let configured = offline.status();
    let by_configuration = configured.map_or(plan.expected == StatusCode::OK, agrees);
    let problem = match &live {
        Err(error) => Some(error.clone()),
        Ok(status) if agrees(*status) => None,
        Ok(_) if by_configuration => Some(
            "the configuration says what is expected, so the gateway serves another one, or the \
             upstream answers so"
                .to_owned(),
        ),
        Ok(_) => Some(format!("the configuration says so too: {}", offline.in_short())),
    };
    Row {
        name: plan.name,
        request: request(url),
        expected: plan.expected.as_u16(),
        configuration: configured
            .map_or("forwarded".to_owned(), |status| status.as_u16().to_string()),
        good: problem.is_none(),
        live: live.ok().map(|status| status.as_u16()),
        problem,
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<20} {:>8} {:>13} {:>5}  {:<6} REQUEST",
            "ROW", "EXPECTED", "CONFIGURATION", "LIVE", "RESULT"
        )?;
        for row in &self.rows {
            let live = row.live.map_or("-".to_owned(), |status| status.to_string());
            let result = if row.good { "ok" } else { "DIFFER" };
            writeln!(
                f,
                "{:<20} {:>8} {:>13} {live:>5}  {result:<6} {}",
                row.name, row.expected, row.configuration, row.request
            )?;
            if let Some(problem) = &row.problem {
                writeln!(f, "{:<20} {problem}", "")?;
            }
        }
        Ok(())
    }
}
