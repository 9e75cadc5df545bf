//! The conformance corpus without sockets: every recorded request is read, authenticated,
//! authorized and turned into an upstream head by the code of the data path, and the outcome is
//! compared as the corpus's README says.
//!
//! Requests that the corpus marks as quirks are held to what `docs/policy.md` says about them:
//! [`QUIRKS`] lists every one whose outcome differs from the recorded one, and nothing else may.

#[cfg(test)]
#[path = "corpus/case.rs"]
mod case;
#[cfg(test)]
#[path = "corpus/pipeline.rs"]
mod pipeline;

use case::{Case, Request};
use gateway_daemon::cli::generate::{JwtArgs, MatchWord};
use gateway_daemon::tools::generate;
use pipeline::Pipeline;

/// What this gateway does otherwise on purpose: case, request, our status.
const QUIRKS: &[(&str, &str, u64)] = &[
    // A claim that no header can carry is no header; Envoy fails the request with 503.
    ("claims-to-headers-hostile", "claim-crlf", 200),
    ("claims-to-headers-hostile", "claim-nul", 200),
    ("claims-to-headers-hostile", "claim-ctl", 200),
    // Taking a token out of the query leaves the other parameters as they were sent.
    ("forward-not", "query encoded others", 200),
    ("jwt-from-params", "other params encoded", 200),
    ("jwt-from-params", "valueless others", 200),
    // User information and several Hosts are refused.
    ("host-deny", "userinfo", 400),
    ("host-deny", "host with userinfo", 400),
    ("host-star", "two hosts", 400),
    // A signature has the length its algorithm says, and belongs to the curve it names.
    ("jwt-algs", "es256-long", 401),
    ("jwt-algs", "es384-on-p256", 401),
    // All keys are tried before a token is refused.
    ("jwt-algs", "hs256-nokid", 200),
    // Base64url is read strictly: no padding, no empty sections.
    ("jwt-structure", "double-dot", 401),
    ("jwt-structure", "lead-dot", 401),
    ("jwt-structure", "pad-b64", 401),
    ("payload-to-header", "pad-b64", 401),
    // One output header per request: that of the first token.
    ("jwt-default-both", "both alice", 200),
    ("jwt-default-both", "header alice query bob", 200),
    // A raw `<` or `>` in a target is malformed.
    ("norm-deny", "get /<admin>", 400),
    // The token is read before the header is written, not lost to it.
    ("payload-same-header", "valid", 200),
];

/// Quirks that only a connection can show: limits of the head, and HTTP/1.0.
const FRAMING: &[(&str, &str)] = &[
    ("host-star", "host 1.0"),
    ("host-star", "no host 1.0"),
    ("http-oversize", "120 headers"),
    ("http-oversize", "70k header"),
];

#[derive(Default)]
struct Score {
    agree: usize,
    total: usize,
    quirks_agree: usize,
    quirks: usize,
    wrong: Vec<String>,
}

impl Score {
    fn add(&mut self, case: &Case, request: &Request, pipeline: &mut Pipeline) {
        let is = |(c, r): (&str, &str)| c == case.name && r == request.name;
        if FRAMING.iter().any(|row| is(*row)) {
            return;
        }
        let got = pipeline.send(request);
        let differences = case::compare(case, request, &got);
        let agrees = differences.is_empty();
        let meant = QUIRKS.iter().find(|(c, r, _)| is((c, r)));
        if request.is_quirk {
            self.quirks += 1;
            self.quirks_agree += usize::from(agrees);
        } else {
            self.total += 1;
            self.agree += usize::from(agrees);
        }
        let right = match meant {
            None => agrees,
            Some((_, _, status)) => request.is_quirk && !agrees && got.status == *status,
        };
        if !right {
            self.wrong.push(format!("{}: {}: {differences:?}", case.name, request.name));
        }
    }
}

#[test]
fn every_recorded_outcome_is_ours() {
    let mut score = Score::default();
    for case in Case::all() {
        let mut pipeline = Pipeline::start(&case);
        for request in &case.requests {
            score.add(&case, request, &mut pipeline);
        }
    }
    let Score { agree, total, quirks_agree, quirks, wrong } = score;
    println!("{agree} of {total} agree; of the quirks {quirks_agree} of {quirks}");
    assert!(wrong.is_empty(), "{agree} of {total} agree:\n{}", wrong.join("\n"));
}

/// The two modes of the console's form, written by `generate jwt`, decide as the manifests that a
/// mesh's console wrote.
#[test]
fn generated_manifests_decide_as_recorded() {
    let rows = [
        ("asm-auth-if-matched", MatchWord::AuthIfMatched, "path=/productpage"),
        (
            "asm-bypass-auth-if-matched",
            MatchWord::BypassAuthIfMatched,
            "path=/login path=/static* path=*.ico",
        ),
    ];
    for mut case in Case::all() {
        let Some((_, mode, rule)) = rows.iter().find(|(name, ..)| *name == case.name) else {
            continue;
        };
        let inline = case.manifests.lines().find_map(|line| line.trim().strip_prefix("jwks: '"));
        let arguments = JwtArgs {
            issuer: Some("testing@secure.istio.io".to_owned()),
            jwks: inline.and_then(|text| text.strip_suffix('\'')).map(str::to_owned),
            mode: Some(*mode),
            rule: vec![(*rule).to_owned()],
            ..JwtArgs::default()
        };
        case.manifests = generate::jwt(&arguments, &mut std::io::empty(), &mut std::io::sink())
            .unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let mut pipeline = Pipeline::start(&case);
        let mut score = Score::default();
        for request in &case.requests {
            score.add(&case, request, &mut pipeline);
        }
        assert!(score.wrong.is_empty(), "{:?}", score.wrong);
        assert!(score.agree > 20, "{}: {} rows", case.name, score.agree);
    }
}
