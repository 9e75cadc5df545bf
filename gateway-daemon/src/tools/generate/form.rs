//! What was filled in, validated as far as it can be without a Gateway.

use http::{HeaderName, Method};

use super::GenerateError;
use crate::cli::generate::{JwtArgs, MatchWord};

/// Most operations that a bypass of several rules may need.
const MAX_OPERATIONS: usize = 64;

/// Both forms.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) gateway: Option<String>,
    pub(super) issuer: String,
    pub(super) audiences: Vec<String>,
    pub(super) keys: Keys,
    /// Name and prefix.
    pub(super) headers: Vec<(String, String)>,
    pub(super) params: Vec<String>,
    pub(super) passthrough: bool,
    pub(super) payload_header: Option<String>,
    /// Claim and header.
    pub(super) claim_headers: Vec<(String, String)>,
    /// Requests that need a token: any of these; none: every request.
    pub(super) operations: Vec<Operation>,
}

/// Where keys come from.
#[derive(Debug)]
pub(super) enum Keys {
    Inline(String),
    Uri(String),
}

/// An operation of the policy, in the spelling of its fields; all of them have to hold.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Operation {
    pub(super) fields: Vec<(&'static str, Vec<String>)>,
}

/// A matching rule: values of each kind that it names.
#[derive(Debug, Default)]
pub(super) struct Rule {
    paths: Vec<String>,
    methods: Vec<String>,
    hosts: Vec<String>,
}

impl Form {
    /// Reads what was typed.
    pub(super) fn read(arguments: &JwtArgs) -> Result<Self, GenerateError> {
        let issuer = arguments.issuer.clone().filter(|issuer| !issuer.is_empty());
        let rules = arguments.rule.iter().map(|text| Rule::parse(text));
        let rules = rules.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            name: name("--name", arguments.name.as_deref().unwrap_or("jwt"))?,
            namespace: name("--namespace", arguments.namespace.as_deref().unwrap_or("default"))?,
            gateway: arguments
                .gateway
                .as_deref()
                .map(|text| name("--gateway", text))
                .transpose()?,
            issuer: issuer.ok_or_else(|| {
                GenerateError::word("--issuer", "name the issuer, as `iss` of its tokens does")
            })?,
            audiences: arguments.audience.clone(),
            keys: keys(arguments)?,
            headers: headers(&arguments.from_header)?,
            params: arguments.from_param.clone(),
            passthrough: arguments.passthrough,
            payload_header: arguments
                .payload_header
                .as_deref()
                .map(|text| header("--payload-header", text))
                .transpose()?,
            claim_headers: claim_headers(&arguments.claim_header)?,
            operations: match arguments.mode.unwrap_or(MatchWord::AuthIfMatched) {
                MatchWord::AuthIfMatched => rules.iter().map(Rule::operation).collect(),
                MatchWord::BypassAuthIfMatched => all_but(&rules)?,
            },
        })
    }
}

impl Rule {
    /// Reads `path=/a path=/b method=GET host=example.test`.
    pub(super) fn parse(text: &str) -> Result<Self, GenerateError> {
        let wrong = |problem: String| GenerateError::word("--rule", problem);
        let mut rule = Self::default();
        for word in text.split_whitespace() {
            let (kind, value) = word.split_once('=').unwrap_or((word, ""));
            let list = match kind {
                "path" if value.starts_with(['/', '*']) => &mut rule.paths,
                "path" => {
                    return Err(wrong(format!("{word:?}: a path begins with a slash or a star")));
                }
                "method" if value.parse::<Method>().is_ok() => &mut rule.methods,
                "host" if !value.is_empty() => &mut rule.hosts,
                _ => {
                    let usage = "use words such as path=/a*, method=GET and host=a.example.test";
                    return Err(wrong(format!("{word:?}: {usage}")));
                }
            };
            if kind == "host" && !value.contains(':') && !value.ends_with('*') {
                // Policies look at the authority, port included.
                list.extend([value.to_owned(), format!("{value}:*")]);
            } else {
                list.push(value.to_owned());
            }
        }
        if rule.kinds().next().is_none() {
            return Err(wrong("a rule names a path, a method or a host at least".to_owned()));
        }
        Ok(rule)
    }

    /// What it names, with the fields that say it and its contrary.
    fn kinds(&self) -> impl Iterator<Item = (&'static str, &'static str, &Vec<String>)> {
        [
            ("paths", "notPaths", &self.paths),
            ("methods", "notMethods", &self.methods),
            ("hosts", "notHosts", &self.hosts),
        ]
        .into_iter()
        .filter(|(_, _, values)| !values.is_empty())
    }

    fn operation(&self) -> Operation {
        let fields = self.kinds().map(|(field, _, values)| (field, values.clone()));
        Operation { fields: fields.collect() }
    }
}

/// Operations for whatever matches none of the rules.
///
/// A request escapes a rule if one kind of what the rule names does not fit, so there is an
/// operation for each choice of one kind per rule. Rules of one kind each give one operation.
fn all_but(rules: &[Rule]) -> Result<Vec<Operation>, GenerateError> {
    if rules.is_empty() {
        return Ok(Vec::new());
    }
    let mut operations = vec![Operation::default()];
    for rule in rules {
        let mut next = Vec::new();
        for operation in &operations {
            for (_, not, values) in rule.kinds() {
                let extended = operation.with(not, values);
                if !next.contains(&extended) {
                    next.push(extended);
                }
            }
        }
        if next.len() > MAX_OPERATIONS {
            return Err(GenerateError::word(
                "--rule",
                "so many rules of several kinds each make a policy that nobody can read; bypass by \
                 path alone, or write two policies",
            ));
        }
        operations = next;
    }
    Ok(operations)
}

impl Operation {
    fn with(&self, field: &'static str, values: &[String]) -> Self {
        let mut extended = self.clone();
        match extended.fields.iter_mut().find(|(name, _)| *name == field) {
            Some((_, list)) => {
                let new = values.iter().filter(|value| !list.contains(value)).cloned();
                let new: Vec<_> = new.collect();
                list.extend(new);
            }
            None => extended.fields.push((field, values.to_vec())),
        }
        extended
    }
}

/// A name of Kubernetes (RFC 1123 subdomain).
fn name(flag: &'static str, text: &str) -> Result<String, GenerateError> {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inner = |c: char| edge(c) || matches!(c, '-' | '.');
    if text.starts_with(edge) && text.ends_with(edge) && text.chars().all(inner) {
        return Ok(text.to_owned());
    }
    Err(GenerateError::word(flag, format!("{text:?}: use lower-case letters, digits, - and .")))
}

fn header(flag: &'static str, text: &str) -> Result<String, GenerateError> {
    match text.parse::<HeaderName>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(GenerateError::word(flag, format!("{text:?} is no header name"))),
    }
}

fn headers(words: &[String]) -> Result<Vec<(String, String)>, GenerateError> {
    let one = |word: &String| {
        let (name, prefix) = word.split_once('=').unwrap_or((word, ""));
        Ok((header("--from-header", name)?, prefix.to_owned()))
    };
    words.iter().map(one).collect()
}

fn claim_headers(words: &[String]) -> Result<Vec<(String, String)>, GenerateError> {
    let flag = "--claim-header";
    let one = |word: &String| match word.rsplit_once('=') {
        Some((claim, name)) if !claim.is_empty() => Ok((claim.to_owned(), header(flag, name)?)),
        _ => Err(GenerateError::word(flag, format!("{word:?}: use CLAIM=HEADER"))),
    };
    words.iter().map(one).collect()
}

fn keys(arguments: &JwtArgs) -> Result<Keys, GenerateError> {
    if let Some(uri) = &arguments.jwks_uri {
        let known = ["https://", "http://"].iter().any(|scheme| uri.starts_with(scheme));
        let wrong = || GenerateError::word("--jwks-uri", format!("{uri:?} is no https:// URL"));
        return known.then(|| Keys::Uri(uri.clone())).ok_or_else(wrong);
    }
    let (flag, text) = match (&arguments.jwks, &arguments.jwks_file) {
        (Some(text), _) => ("--jwks", text.clone()),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| {
                GenerateError::word("--jwks-file", format!("{}: {error}", path.display()))
            })?;
            ("--jwks-file", text)
        }
        (None, None) => {
            return Err(GenerateError::word(
                "--jwks",
                "name the issuer's keys by --jwks, --jwks-file or --jwks-uri",
            ));
        }
    };
    let set: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let keys = set.as_ref().and_then(|set| set.get("keys")?.as_array());
    let private = ["d", "p", "q", "dp", "dq", "qi"];
    match (keys, &set) {
        (Some(keys), _) if keys.iter().any(|k| private.iter().any(|m| k.get(m).is_some())) => {
            Err(GenerateError::word(flag, "this set holds a private key; give the public ones"))
        }
        (Some(_), Some(set)) => Ok(Keys::Inline(set.to_string())),
        _ => Err(GenerateError::word(flag, "this is no JWK set: a JSON object with a list `keys`")),
    }
}
