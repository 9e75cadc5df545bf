//! `token inspect`: what a token says, and what each rule of the configuration makes of it. Where a
//! token stands in a request is not looked at; the signature is never shown.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::Value;

use super::input::{self, Configuration, InputError};
use super::shown::shown;
use crate::authn::{Authenticator, RuleVerdict};
use crate::cli::tools::InspectArgs;
use crate::clock::{self, UnixSeconds};
use crate::model::reason::Reason;

/// A token looked at.
#[derive(Debug, Serialize)]
pub struct Inspection {
    header: Section,
    payload: Section,
    /// Length of the signature section; none: there is no third section.
    signature_characters: Option<usize>,
    times: Vec<Time>,
    gateways: Vec<GatewayVerdict>,
    /// Why the token is not even well-formed, where no configuration says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    malformed: Option<&'static str>,
}

/// A section as it reads.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Section {
    Json(Value),
    Unreadable { unreadable: &'static str },
}

#[derive(Debug, Serialize)]
struct Time {
    claim: &'static str,
    at: String,
    /// `in 3 days`, `2 hours ago`.
    from_now: String,
}

#[derive(Debug, Serialize)]
struct GatewayVerdict {
    gateway: String,
    rules: Vec<RuleTold>,
}

#[derive(Debug, Serialize)]
struct RuleTold {
    rule: String,
    issuer: String,
    accepted: bool,
    /// Checks that passed, in the order in which they are made.
    passed: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<Failed>,
}

#[derive(Debug, Serialize)]
struct Failed {
    check: &'static str,
    reason: &'static str,
    /// The client's words.
    text: String,
}

/// Checks in the order in which they are made, each with the reasons that it fails for.
const CHECKS: &[(&str, &[Reason])] = &[
    ("form", &[Reason::TokenMalformed, Reason::TokenAlgorithm, Reason::TokenClaimType]),
    ("issuer", &[Reason::TokenIssuer]),
    ("not before", &[Reason::TokenNotYetValid]),
    ("expiry", &[Reason::TokenExpired]),
    ("audience", &[Reason::TokenAudience]),
    ("keys", &[Reason::TokenKeysUnavailable]),
    ("key", &[Reason::TokenKeyUnknown]),
    ("signature", &[Reason::TokenSignature]),
    ("required claims", &[Reason::TokenClaimMissing]),
];

/// Looks at a token.
pub fn run(arguments: &InspectArgs) -> Result<Inspection, InputError> {
    let token = input::token(&arguments.token_file)?;
    let now = clock::unix_now();
    let mut inspection = decode(&token, now);
    if arguments.config.is_empty() {
        return Ok(inspection);
    }
    let InspectArgs { config, ignore_kind, keys, .. } = arguments;
    let configuration = Configuration::read(config, ignore_kind, None, keys)?;
    inspection.gateways = configuration
        .snapshot
        .gateways
        .iter()
        .map(|gateway| GatewayVerdict {
            gateway: gateway.object.to_string(),
            rules: rules(&gateway.authenticator, &token, now),
        })
        .collect();
    Ok(inspection)
}

impl Inspection {
    /// Whether some rule accepts the token; without a configuration, whether it is well-formed. The
    /// exit status.
    pub fn is_good(&self) -> bool {
        match &*self.gateways {
            [] => self.malformed.is_none(),
            gateways => gateways.iter().flat_map(|gateway| &gateway.rules).any(|r| r.accepted),
        }
    }

    /// As JSON.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }
}

fn rules(authenticator: &Authenticator, token: &str, now: UnixSeconds) -> Vec<RuleTold> {
    authenticator.inspect(token.as_bytes(), now).into_iter().map(rule).collect()
}

fn rule(verdict: RuleVerdict) -> RuleTold {
    let refusal = verdict.tokens.into_iter().find_map(|token| token.outcome.err());
    let failed_at = refusal
        .as_ref()
        .map(|refusal| CHECKS.iter().position(|(_, reasons)| reasons.contains(&refusal.reason)));
    // A reason that is no check of its own fails by its own name, and nothing is said to pass.
    let passed = match failed_at {
        None => CHECKS.len(),
        Some(at) => at.unwrap_or(0),
    };
    let failed = refusal.map(|refusal| Failed {
        check: failed_at.flatten().map_or(refusal.reason.word(), |at| CHECKS[at].0),
        reason: refusal.reason.word(),
        text: refusal.text.to_owned(),
    });
    RuleTold {
        rule: verdict.rule.to_string(),
        issuer: shown(&verdict.issuer),
        accepted: failed.is_none(),
        passed: CHECKS[..passed].iter().map(|(name, _)| *name).collect(),
        failed,
    }
}

fn decode(token: &str, now: UnixSeconds) -> Inspection {
    let mut sections = token.split('.');
    let header = section(sections.next());
    let payload = section(sections.next());
    let signature = sections.next();
    // Only the form is asked for: without rules nobody judges a token.
    let malformed = Authenticator::form(token.as_bytes()).err().map(|refusal| refusal.text);
    Inspection {
        times: times(&payload, now),
        header,
        payload,
        signature_characters: signature.map(str::len),
        gateways: Vec::new(),
        malformed,
    }
}

fn section(text: Option<&str>) -> Section {
    let unreadable = |unreadable| Section::Unreadable { unreadable };
    let Some(text) = text else { return unreadable("there is no such section") };
    let Ok(bytes) = URL_SAFE_NO_PAD.decode(text) else {
        return unreadable("this is no base64url without padding");
    };
    serde_json::from_slice(&bytes).map_or_else(|_| unreadable("this is no JSON"), Section::Json)
}

fn times(payload: &Section, now: UnixSeconds) -> Vec<Time> {
    let Section::Json(payload) = payload else { return Vec::new() };
    let time = |claim: &'static str| {
        let seconds = payload.get(claim)?.as_i64()?;
        let at = jiff::Timestamp::from_second(seconds).ok()?.to_string();
        let distance = i128::from(seconds) - i128::from(now.0);
        Some(Time { claim, at, from_now: from_now(distance) })
    };
    ["iat", "nbf", "exp"].into_iter().filter_map(time).collect()
}

/// A distance in its largest whole unit.
fn from_now(seconds: i128) -> String {
    const UNITS: [(&str, u128); 5] =
        [("year", 31_557_600), ("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)];
    let distance = seconds.unsigned_abs();
    let (name, length) =
        UNITS.into_iter().find(|(_, length)| distance >= *length).unwrap_or(("second", 1));
    let count = distance / length;
    let plural = if count == 1 { "" } else { "s" };
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {count} {name}{plural}"),
        _ => format!("{count} {name}{plural} ago"),
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "header    {}", self.header)?;
        writeln!(f, "payload   {}", self.payload)?;
        for time in &self.times {
            writeln!(f, "          {} is {} ({})", time.claim, time.at, time.from_now)?;
        }
        match self.signature_characters {
            Some(bytes) => writeln!(f, "signature {bytes} characters, not shown")?,
            None => writeln!(f, "signature none")?,
        }
        match (self.malformed, &*self.gateways) {
            (Some(text), []) => writeln!(f, "form      {text}")?,
            (None, []) => writeln!(f, "form      good; give --config to check the rest")?,
            _ => {}
        }
        for gateway in &self.gateways {
            writeln!(f, "{}", gateway.gateway)?;
            if gateway.rules.is_empty() {
                writeln!(f, "  no RequestAuthentication applies: tokens are not looked at")?;
            }
            for rule in &gateway.rules {
                write_rule(f, rule)?;
            }
        }
        Ok(())
    }
}

fn write_rule(f: &mut fmt::Formatter<'_>, rule: &RuleTold) -> fmt::Result {
    let verdict = if rule.accepted { "accepts it" } else { "refuses it" };
    writeln!(f, "  {}, issuer {}: {verdict}", rule.rule, rule.issuer)?;
    if !rule.passed.is_empty() {
        writeln!(f, "    passed  {}", rule.passed.join(", "))?;
    }
    match &rule.failed {
        Some(Failed { check, reason, text }) => {
            writeln!(f, "    failed  {check}: {text} ({reason})")
        }
        None => Ok(()),
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { unreadable } => f.write_str(unreadable),
            Self::Json(value) => {
                let text = serde_json::to_string_pretty(value).map_err(|_| fmt::Error)?;
                for (at, line) in text.lines().enumerate() {
                    let indent = if at > 0 { "\n          " } else { "" };
                    write!(f, "{indent}{}", shown(line))?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_told_in_one_unit() {
        let rows = [
            (0, "now"),
            (1, "in 1 second"),
            (-59, "59 seconds ago"),
            (61, "in 1 minute"),
            (-7200, "2 hours ago"),
            (86_400 * 3, "in 3 days"),
            (3_153_600_000, "in 99 years"),
        ];
        for (seconds, expected) in rows {
            assert_eq!(from_now(seconds), expected);
        }
    }

    #[test]
    fn a_signature_is_never_shown() {
        let token = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJhIn0.c2VjcmV0";
        let inspection = decode(token, UnixSeconds(0));
        let printed = format!("{inspection}{}", inspection.json().unwrap());
        assert!(!printed.contains("c2VjcmV0"), "{printed}");
        assert!(printed.contains("alg"), "{printed}");
    }
}
