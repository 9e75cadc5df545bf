//! An explanation as text: a line per fact, stage by stage.

use std::fmt;

use super::{
    Explanation, Outcome, PlaceTold, PolicyTold, ProviderTold, RequestTold, TokenRuleTold,
};

/// Width of the column that names the stage.
const STAGE: usize = 10;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.configuration_errors {
            line(f, "config", format_args!("has no effect: {error}"))?;
        }
        request(f, &self.request)?;
        if let Some(place) = &self.place {
            placed(f, place)?;
        }
        for provider in &self.providers {
            asked(f, provider)?;
        }
        for rule in &self.tokens {
            token_rule(f, rule)?;
        }
        if let Some(identity) = &self.identity {
            line(f, "identity", identity)?;
        }
        for note in &self.notes {
            line(f, "note", note)?;
        }
        for policy in &self.policies {
            policy_line(f, policy, self.decided_by.as_deref())?;
        }
        outcome(f, &self.outcome, self.decided_by.as_deref())
    }
}

fn line(f: &mut fmt::Formatter<'_>, stage: &str, text: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{stage:<STAGE$}{text}")
}

fn request(f: &mut fmt::Formatter<'_>, told: &RequestTold) -> fmt::Result {
    let query = told.query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
    let url = format!("{}://{}{}{query}", told.scheme, told.authority, told.path);
    let through = told.peer.map(|peer| format!(" through {peer}")).unwrap_or_default();
    line(f, "request", format_args!("{} {url} from {}{through}", told.method, told.client))?;
    match &told.server_name {
        Some(name) => line(f, "", format_args!("server name {name}")),
        None => Ok(()),
    }
}

fn placed(f: &mut fmt::Formatter<'_>, place: &PlaceTold) -> fmt::Result {
    let listener = place.listener.as_deref().unwrap_or("none has this host");
    line(f, "listener", format_args!("{listener} ({})", place.gateway))?;
    line(f, "route", place.route.as_deref().unwrap_or("none matches: 404 if policy permits"))?;
    let pattern = place.path_pattern.as_deref().unwrap_or("no configured path");
    line(f, "", format_args!("counts under {pattern}"))
}

fn asked(f: &mut fmt::Formatter<'_>, told: &ProviderTold) -> fmt::Result {
    line(f, "ask", format_args!("{} ({}) for {}", told.provider, told.service, told.asked_by))?;
    line(f, "", format_args!("without an answer the request {}", told.without_answer))
}

fn token_rule(f: &mut fmt::Formatter<'_>, rule: &TokenRuleTold) -> fmt::Result {
    line(f, "token", format_args!("{}, issuer {}", rule.rule, rule.issuer))?;
    if rule.found.is_empty() {
        return line(f, "", format_args!("  nothing in {}", rule.looks_in.join(", ")));
    }
    for token in &rule.found {
        match (token.reason, &token.text) {
            (Some(reason), Some(text)) => {
                line(f, "", format_args!("  {}: {reason}: {text}", token.place))?;
            }
            _ => line(f, "", format_args!("  {}: accepted", token.place))?,
        }
    }
    Ok(())
}

fn policy_line(
    f: &mut fmt::Formatter<'_>,
    told: &PolicyTold,
    decided_by: Option<&str>,
) -> fmt::Result {
    let name = format!("{}: rules[{}]", told.policy, told.rule);
    let decided = told.matches && told.decides && decided_by == Some(&*name);
    let verdict = match (told.matches, decided) {
        (true, true) => "matches, and decides".to_owned(),
        (true, false) => "matches".to_owned(),
        (false, _) => format!("does not match: {}", told.does_not_match.join(", ")),
    };
    let stage = if told.decides { "policy" } else { "shadow" };
    line(f, stage, format_args!("{:<5} {name}: {verdict}", told.action))
}

fn outcome(f: &mut fmt::Formatter<'_>, told: &Outcome, decided_by: Option<&str>) -> fmt::Result {
    match told {
        Outcome::ConnectionClosed { reason } => line(
            f,
            "outcome",
            format_args!("connection closed: no good PROXY header can come from there: {reason}"),
        ),
        Outcome::HandshakeRefused { text } => {
            line(f, "outcome", format_args!("TLS handshake refused: {text}"))
        }
        Outcome::Refused { reason, status, headers, body } => {
            let by = decided_by.map(|by| format!(" by {by}")).unwrap_or_default();
            line(f, "outcome", format_args!("refused{by}: {reason}"))?;
            line(f, "client", format_args!("{status}"))?;
            for (name, value) in headers {
                line(f, "", format_args!("{name}: {value}"))?;
            }
            if body.is_empty() { Ok(()) } else { line(f, "", body) }
        }
        Outcome::Forwarded { service, port, endpoints, method, target, headers } => {
            let endpoints: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
            let endpoints = endpoints.join(", ");
            line(f, "outcome", format_args!("forwarded to {service}, port {port} ({endpoints})"))?;
            line(f, "upstream", format_args!("{method} {target}"))?;
            for (name, value) in headers {
                line(f, "", format_args!("{name}: {value}"))?;
            }
            Ok(())
        }
    }
}
