//! RequestAuthentication to [`JwtRule`]s.
//!
//! A rule that is broken in any field keeps its issuer and its places but loses its keys, so that
//! tokens of that issuer are refused and nothing else changes.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use serde_json::Value;

use super::super::bundle::{Bundle, Loaded};
use super::super::conditions::{ConditionType, Draft, ObjectReport, Reason};
use super::super::path::FieldPath;
use super::Model;
use super::attachment::{Attachment, shared};
use super::duration::duration;
use super::jwt_policy::Policies;
use crate::manifest::request_authentication::{JwtRule as WireRule, RequestAuthentication};
use crate::model::jwt::{ClaimFormat, ClaimToHeader, JwtRule, KeySource, TokenHeader, TokenPlaces};
use crate::model::keys::{FetchOptions, KeyPlace, KeyUrl, RemoteKeys};

/// Istio's default for `timeout`.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Headers that carry framing, routing or hop-by-hop meaning: nothing of a token belongs there.
const NEVER_OUTPUT: &[HeaderName] = &[
    http::header::CONNECTION,
    http::header::CONTENT_LENGTH,
    http::header::HOST,
    http::header::TE,
    http::header::TRAILER,
    http::header::TRANSFER_ENCODING,
    http::header::UPGRADE,
];

/// Adds the rules of every RequestAuthentication to the Gateways that it applies to.
pub(super) fn translate(
    bundle: &Bundle,
    policies: &Policies,
    model: &mut Model,
    reports: &mut Vec<ObjectReport>,
) {
    for loaded in &bundle.request_authentications {
        let mut draft = ObjectReport::open(loaded, None);
        if let Some(spec) = &loaded.manifest.spec {
            let attachment = Attachment {
                object: &loaded.object,
                selector: spec.selector.as_ref(),
                target_ref: spec.target_ref.as_ref(),
                target_refs: &spec.target_refs,
            };
            let gateways = attachment.gateways(model, &mut draft);
            let rules: Vec<JwtRule> = spec
                .jwt_rules
                .iter()
                .enumerate()
                .map(|(index, rule)| {
                    RuleTranslator::new(loaded, index, &mut draft).rule(rule, policies)
                })
                .collect();
            for gateway in gateways {
                model.gateways[gateway].jwt_rules.extend(rules.iter().cloned());
            }
        }
        reports.push(draft.finish(&[ConditionType::Accepted]));
    }
}

struct RuleTranslator<'b, 'd, 'o> {
    loaded: &'b Loaded<RequestAuthentication>,
    index: usize,
    path: FieldPath,
    draft: &'d mut Draft<'o>,
    broken: bool,
}

impl<'b, 'd, 'o> RuleTranslator<'b, 'd, 'o> {
    fn new(
        loaded: &'b Loaded<RequestAuthentication>,
        index: usize,
        draft: &'d mut Draft<'o>,
    ) -> Self {
        let path = FieldPath::of("spec.jwtRules").index(index);
        Self { loaded, index, path, draft, broken: false }
    }

    fn rule(mut self, wire: &WireRule, policies: &Policies) -> JwtRule {
        if wire.issuer.is_empty() {
            self.refuse(Reason::Invalid, self.path.key("issuer"), "is empty; name the issuer");
        }
        let audiences = self.texts("audiences", &wire.audiences);
        let places = self.places(wire);
        let output_payload_to_header = wire
            .output_payload_to_header
            .as_deref()
            .and_then(|name| self.output_header(name, self.path.key("outputPayloadToHeader")));
        let output_claim_to_headers = self.claims(wire);
        let space_delimited_claims =
            self.texts("spaceDelimitedClaims", &wire.space_delimited_claims);
        let keys = self.keys(wire, policies);
        JwtRule {
            object: self.loaded.object.clone(),
            index: self.index,
            issuer: shared(&wire.issuer),
            audiences,
            keys: if self.broken { KeySource::Unusable } else { keys },
            places,
            forward_original_token: wire.forward_original_token,
            output_payload_to_header,
            output_claim_to_headers,
            space_delimited_claims,
            clock_skew: JwtRule::CLOCK_SKEW,
            required_claims: Vec::new(),
            claim_format: ClaimFormat::Envoy,
        }
    }

    fn refuse(&mut self, reason: Reason, path: FieldPath, message: impl Into<String>) {
        self.broken = true;
        self.draft.refuse(reason, path, message);
    }

    /// `jwks`, else `jwksUri`, else what the issuer's own metadata document says.
    fn keys(&mut self, wire: &WireRule, policies: &Policies) -> KeySource {
        let timeout = self.timeout(wire);
        let filled = |text: &'_ Option<String>| text.clone().filter(|text| !text.is_empty());
        match (filled(&wire.jwks), filled(&wire.jwks_uri)) {
            (Some(_), Some(_)) => {
                let message = "stands beside jwks; a rule has one of the two";
                self.refuse(Reason::Invalid, self.path.key("jwksUri"), message);
                KeySource::Unusable
            }
            (Some(text), None) => self.inline(&text),
            (None, Some(uri)) => match KeyUrl::parse(&uri) {
                Ok(url) => remote(wire, KeyPlace::Url(url), timeout),
                Err(error) => {
                    self.refuse(Reason::Invalid, self.path.key("jwksUri"), error.to_string());
                    KeySource::Unusable
                }
            },
            (None, None) if policies.has_file(&wire.issuer) => KeySource::Elsewhere,
            (None, None) => {
                let base = wire.issuer.strip_suffix('/').unwrap_or(&wire.issuer);
                match KeyUrl::parse(&format!("{base}/.well-known/openid-configuration")) {
                    Ok(url) => remote(wire, KeyPlace::Discovery(url), timeout),
                    Err(error) => {
                        let message = format!(
                            "is needed, or jwksUri: the issuer {error}, so it cannot be asked \
                             where its keys are"
                        );
                        self.refuse(Reason::Invalid, self.path.key("jwks"), message);
                        KeySource::Unusable
                    }
                }
            }
        }
    }

    fn timeout(&mut self, wire: &WireRule) -> Duration {
        let Some(text) = wire.timeout.as_deref() else { return DEFAULT_TIMEOUT };
        let timeout = duration(text).filter(|timeout| !timeout.is_zero());
        timeout.unwrap_or_else(|| {
            let message = "is not a duration above zero such as \"5s\"";
            self.refuse(Reason::Invalid, self.path.key("timeout"), message);
            DEFAULT_TIMEOUT
        })
    }

    fn inline(&mut self, text: &str) -> KeySource {
        let path = self.path.key("jwks");
        match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(set)) if set.get("keys").is_some_and(Value::is_array) => {
                KeySource::Inline(text.into())
            }
            Ok(_) => {
                let message = "is not a JWK set; expected a JSON object with an array \"keys\"";
                self.refuse(Reason::Invalid, path, message);
                KeySource::Unusable
            }
            Err(error) => {
                self.refuse(Reason::Invalid, path, format!("is not JSON: {error}"));
                KeySource::Unusable
            }
        }
    }

    fn places(&mut self, wire: &WireRule) -> TokenPlaces {
        let mut headers = Vec::new();
        for (index, header) in wire.from_headers.iter().enumerate() {
            let path = self.path.key("fromHeaders").index(index).key("name");
            if let Some(name) = self.header_name(&header.name, path) {
                headers.push(TokenHeader { name, prefix: shared(&header.prefix) });
            }
        }
        TokenPlaces {
            headers,
            params: self.texts("fromParams", &wire.from_params),
            cookies: self.texts("fromCookies", &wire.from_cookies),
        }
    }

    fn claims(&mut self, wire: &WireRule) -> Vec<ClaimToHeader> {
        let mut claims = Vec::new();
        for (index, entry) in wire.output_claim_to_headers.iter().enumerate() {
            let path = self.path.key("outputClaimToHeaders").index(index);
            if entry.claim.is_empty() {
                self.refuse(Reason::Invalid, path.key("claim"), "is empty; name a claim");
                continue;
            }
            if let Some(header) = self.output_header(&entry.header, path.key("header")) {
                claims.push(ClaimToHeader { header, claim: shared(&entry.claim) });
            }
        }
        claims
    }

    fn texts(&mut self, field: &str, texts: &[String]) -> Vec<Arc<str>> {
        for (index, text) in texts.iter().enumerate() {
            if text.is_empty() {
                let path = self.path.key(field).index(index);
                self.refuse(Reason::Invalid, path, "is empty; remove it");
            }
        }
        texts.iter().filter(|text| !text.is_empty()).map(|text| shared(text)).collect()
    }

    fn output_header(&mut self, text: &str, path: FieldPath) -> Option<HeaderName> {
        let name = self.header_name(text, path.clone())?;
        if NEVER_OUTPUT.contains(&name) {
            let message = format!("{text:?} frames or routes requests; use another header");
            self.refuse(Reason::Invalid, path, message);
            return None;
        }
        Some(name)
    }

    fn header_name(&mut self, text: &str, path: FieldPath) -> Option<HeaderName> {
        let name = HeaderName::from_bytes(text.as_bytes()).ok();
        if name.is_none() {
            self.refuse(Reason::Invalid, path, format!("{text:?} is not a header name"));
        }
        name
    }
}

fn remote(wire: &WireRule, place: KeyPlace, timeout: Duration) -> KeySource {
    KeySource::Remote(Arc::new(RemoteKeys {
        issuer: shared(&wire.issuer),
        place,
        timeout,
        options: FetchOptions::default(),
    }))
}
