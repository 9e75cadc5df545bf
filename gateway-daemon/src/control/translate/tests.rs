//! Golden cases: `testdata/NAME.in.yaml` gives `testdata/NAME.out.yaml`, the model and every
//! condition. `BLESS=1` rewrites what differs; read the difference before committing it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::bundle;
use super::super::check::Checked;
use super::super::conditions::{Reason, Report};
use super::super::source::SourceFile;
use super::{Model, translate};
use crate::model::backend::{Backend, BackendTarget};
use crate::model::policy::{Action, Policy};
use crate::model::refusal::Refusals;

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/control/testdata")
}

fn cases() -> Vec<String> {
    let mut cases: Vec<String> = fs::read_dir(testdata())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|file| file.strip_suffix(".in.yaml").map(str::to_owned))
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "{} holds no case", testdata().display());
    cases
}

fn run(case: &str) -> (Model, Report) {
    let name = format!("{case}.in.yaml");
    let text = fs::read_to_string(testdata().join(&name)).unwrap();
    let files = [SourceFile { name: name.as_str().into(), text }];
    let (bundle, faults) = bundle::read(&files, &["Widget.example.test".to_owned()]);
    translate(&bundle, faults)
}

#[test]
fn golden_cases_hold() {
    #[expect(clippy::disallowed_methods, reason = "blessing is no setting of the daemon")]
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let (model, report) = run(&case);
        let actual = describe(&model, &report);
        let path = testdata().join(format!("{case}.out.yaml"));
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if actual == expected {
            continue;
        }
        if bless {
            fs::write(&path, &actual).unwrap();
        } else {
            wrong.push(format!("{case}:\n{}", difference(&expected, &actual)));
        }
    }
    assert!(wrong.is_empty(), "{}\nrun with BLESS=1 to rewrite", wrong.join("\n"));
}

#[test]
fn every_reason_has_a_case() {
    let seen: BTreeSet<Reason> = cases()
        .iter()
        .flat_map(|case| run(case).1.objects)
        .flat_map(|object| object.conditions)
        .map(|condition| condition.reason)
        .collect();
    let missing: Vec<_> = Reason::ALL.iter().filter(|reason| !seen.contains(reason)).collect();
    assert!(missing.is_empty(), "no case has {missing:?}");
}

fn difference(expected: &str, actual: &str) -> String {
    let gone = expected.lines().filter(|line| !actual.lines().any(|other| other == *line));
    let new = actual.lines().filter(|line| !expected.lines().any(|other| other == *line));
    gone.map(|line| format!("- {line}\n")).chain(new.map(|line| format!("+ {line}\n"))).collect()
}

/// The model and the report as YAML of literal blocks.
fn describe(model: &Model, report: &Report) -> String {
    let mut text = String::new();
    block(&mut text, "listeners", model.listeners.iter().enumerate().map(|(index, l)| {
        let hostname = l.hostname.as_ref().map_or_else(|| "every host".to_owned(), ToString::to_string);
        let certificates: Vec<_> = l.certificates.iter().map(|c| c.secret.to_string()).collect();
        format!(
            "{index}: {} listener {}: {:?} {} {hostname} addresses {:?} certificates {certificates:?}",
            l.gateway, l.name, l.protocol, l.ports, l.addresses
        )
    }));
    block(
        &mut text,
        "routes",
        model.routes.iter().flat_map(|route| {
            let hostnames: Vec<_> = route.hostnames.iter().map(ToString::to_string).collect();
            let listeners: Vec<_> = route.listeners.iter().map(|index| index.0).collect();
            let head = format!(
                "{}: created {:?} listeners {listeners:?} hostnames {hostnames:?}",
                route.object, route.created
            );
            let rules = route.rules.iter().map(|rule| {
                let matches: Vec<_> = rule.matches.iter().map(ToString::to_string).collect();
                let backends: Vec<_> = rule.backends.iter().map(backend).collect();
                format!("  {} -> {}", matches.join(" or "), backends.join(", "))
            });
            std::iter::once(head).chain(rules).collect::<Vec<_>>()
        }),
    );
    for gateway in &model.gateways {
        let name = format!("policies of {}/{}", gateway.object.namespace, gateway.object.name);
        let rules = gateway.jwt_rules.iter().flat_map(|rule| {
            [
                format!(
                    "{} rule {}: issuer {:?} {:?}",
                    rule.object, rule.index, rule.issuer, rule.keys
                ),
                format!("  audiences {:?} {:?}", rule.audiences, rule.places),
                format!(
                    "  forward {} payload to {:?} claims to {:?} split {:?}",
                    rule.forward_original_token,
                    rule.output_payload_to_header,
                    rule.output_claim_to_headers,
                    rule.space_delimited_claims
                ),
                format!(
                    "  skew {:?} required {:?} format {:?}",
                    rule.clock_skew, rule.required_claims, rule.claim_format
                ),
            ]
        });
        let policies = gateway.policies.iter().flat_map(|policy| {
            let dry_run = if policy.dry_run { " dry-run" } else { "" };
            let head = format!("{}: {:?}{dry_run}", policy.object, policy.action);
            let rules = policy.rules.iter().enumerate().flat_map(|(index, rule)| {
                let from = rule.from.iter().map(|source| format!("    from {source:?}"));
                let to = rule.to.iter().map(|operation| format!("    to {operation:?}"));
                let when = rule.when.iter().map(|condition| format!("    when {condition:?}"));
                std::iter::once(format!("  rule {index}:"))
                    .chain(from.chain(to).chain(when).map(|line| {
                        // What constrains nothing is of no interest.
                        line.replace("Constraint { values: [], not_values: [] }", "any")
                    }))
                    .collect::<Vec<_>>()
            });
            let asked = (policy.action == Action::Custom).then(|| provider(policy));
            std::iter::once(head)
                .chain(asked.into_iter().flatten())
                .chain(rules)
                .collect::<Vec<_>>()
        });
        let topology = Some(gateway.topology).filter(|topology| topology.trusts());
        let topology = topology.map(|topology| format!("{topology:?}"));
        let ignored = gateway.ignore_token_paths.iter();
        let ignored = ignored.map(|path| format!("tokens are ignored at {path}"));
        let refusals = Some(&gateway.refusals).filter(|told| **told != Refusals::default());
        let refusals = refusals.map(|told| format!("{told:?}"));
        let lines =
            topology.into_iter().chain(rules).chain(ignored).chain(refusals).chain(policies);
        block(&mut text, &name, lines);
    }
    let checked = Checked { report: report.clone(), warnings: Vec::new() };
    block(&mut text, "check", checked.render().lines().map(str::to_owned));
    text
}

fn provider(policy: &Policy) -> Vec<String> {
    let Some(provider) = &policy.provider else {
        return vec!["  asks nobody: what it matches is refused".to_owned()];
    };
    let (upstream, body) = (&provider.upstream, &provider.body);
    vec![
        format!("  asks {} at {} {:?}", provider.object, provider.authority, upstream.protocol),
        format!(
            "    {:?} within {:?} fail open {} status {} body {body:?}",
            upstream.endpoints, provider.timeout, provider.fail_open, provider.status_on_error
        ),
        format!("    {:?}", provider.check),
    ]
}

fn backend(backend: &Backend) -> String {
    match &backend.target {
        BackendTarget::Unresolved => format!("{} unresolved", backend.weight),
        BackendTarget::Resolved(upstream) => format!(
            "{} {}:{} {:?} {:?}",
            backend.weight, upstream.service, upstream.port, upstream.protocol, upstream.endpoints
        ),
    }
}

fn block(text: &mut String, name: &str, lines: impl Iterator<Item = String>) {
    writeln!(text, "{name}: |").unwrap();
    for line in lines {
        writeln!(text, "  {line}").unwrap();
    }
}
