//! JWTPolicy to what it changes in the token rules of the Gateways that it targets.
//!
//! Direct policy attachment (GEP-713): of several policies that configure one issuer of one
//! Gateway, the oldest counts, then the first by namespace and name; the others are not accepted.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::super::bundle::{Bundle, Loaded};
use super::super::conditions::{ConditionType, Draft, ObjectReport, Reason};
use super::super::path::FieldPath;
use super::Model;
use super::attachment::{Attachment, shared};
use super::authorization_policy::path_pattern;
use super::duration::duration;
use super::secret::Certificates;
use crate::manifest::jwt_policy::{
    Challenge, ClaimFormat as WireFormat, IssuerSettings, JwtPolicy, JwtPolicySpec, KeySettings,
};
use crate::model::jwt::{ClaimFormat, JwtRule, KeySource};
use crate::model::keys::{FetchOptions, KeyPlace, KeyUrl, RemoteKeys};
use crate::model::path::CountedPath;
use crate::model::refusal::{DeniedBody, Refusals, ScopeChallenge};

/// The longest body of a refusal.
const MOST_BODY: usize = 64 << 10;
/// More would let a token live well beyond its end.
const MOST_SKEW: Duration = Duration::from_hours(1);

/// Every JWTPolicy, read.
pub(super) struct Policies {
    settings: Vec<Settings>,
}

/// What a policy says of an issuer, for one Gateway.
struct Settings {
    gateway: usize,
    issuer: Arc<str>,
    clock_skew: Option<Duration>,
    required_claims: Vec<Arc<str>>,
    claim_format: ClaimFormat,
    file: Option<Arc<Path>>,
    options: FetchOptions,
    /// Something of it is wrong: the issuer's tokens are refused.
    broken: bool,
}

impl Policies {
    /// Reads the policies of a bundle. Paths whose tokens are ignored go into the model at once.
    pub(super) fn new(
        bundle: &Bundle,
        certificates: &Certificates,
        model: &mut Model,
        reports: &mut Vec<ObjectReport>,
    ) -> Self {
        let mut policies: Vec<&Loaded<JwtPolicy>> = bundle.jwt_policies.iter().collect();
        // Those that do not say come last.
        policies.sort_by_key(|loaded| {
            let created = loaded.manifest.metadata.creation_timestamp.as_deref();
            (created.is_none(), created, &loaded.object)
        });
        let mut all = Self { settings: Vec::new() };
        for loaded in policies {
            let mut draft = ObjectReport::open(loaded, None);
            all.add(loaded, certificates, model, &mut draft);
            reports.push(draft.finish(&[ConditionType::Accepted, ConditionType::ResolvedRefs]));
        }
        all
    }

    /// Whether keys of an issuer come from a file that some policy names.
    pub(super) fn has_file(&self, issuer: &str) -> bool {
        self.settings.iter().any(|s| *s.issuer == *issuer && s.file.is_some())
    }

    fn add(
        &mut self,
        loaded: &Loaded<JwtPolicy>,
        certificates: &Certificates,
        model: &mut Model,
        draft: &mut Draft<'_>,
    ) {
        let spec = &loaded.manifest.spec;
        if spec.target_refs.is_empty() {
            let message = "is empty; name a Gateway";
            draft.refuse(Reason::Invalid, FieldPath::of("spec.targetRefs"), message);
            return;
        }
        let attachment = Attachment {
            object: &loaded.object,
            selector: None,
            target_ref: None,
            target_refs: &spec.target_refs,
        };
        let gateways = attachment.gateways(model, draft);
        let ignored = paths(&spec.ignore_token_paths, draft);
        for gateway in &gateways {
            model.gateways[*gateway].ignore_token_paths.extend(ignored.iter().cloned());
        }
        let refusals = refusals(spec, draft);
        for gateway in &gateways {
            tell(&mut model.gateways[*gateway].refusals, &refusals, draft);
        }
        for (index, issuer) in spec.issuers.iter().enumerate() {
            let path = FieldPath::of("spec.issuers").index(index);
            let mut reader = Reader { path, draft, broken: false };
            let read = reader.settings(issuer, loaded, certificates);
            for gateway in &gateways {
                let taken = |s: &Settings| s.gateway == *gateway && *s.issuer == *issuer.issuer;
                if self.settings.iter().any(taken) {
                    let message = format!(
                        "{:?} is configured for this Gateway already, here or by an older policy",
                        issuer.issuer
                    );
                    reader.draft.refuse(Reason::Conflicted, reader.path.key("issuer"), message);
                    continue;
                }
                self.settings.push(Settings { gateway: *gateway, ..read.copy() });
            }
        }
    }

    /// Changes the rules of the model.
    pub(super) fn apply(&self, model: &mut Model) {
        for settings in &self.settings {
            let rules = &mut model.gateways[settings.gateway].jwt_rules;
            for rule in rules.iter_mut().filter(|rule| rule.issuer == settings.issuer) {
                settings.apply(rule);
            }
        }
    }
}

impl Settings {
    fn copy(&self) -> Self {
        Self {
            gateway: self.gateway,
            issuer: Arc::clone(&self.issuer),
            clock_skew: self.clock_skew,
            required_claims: self.required_claims.clone(),
            claim_format: self.claim_format,
            file: self.file.clone(),
            options: self.options.clone(),
            broken: self.broken,
        }
    }

    fn apply(&self, rule: &mut JwtRule) {
        rule.clock_skew = self.clock_skew.unwrap_or(rule.clock_skew);
        rule.required_claims.clone_from(&self.required_claims);
        rule.claim_format = self.claim_format;
        if self.broken {
            rule.keys = KeySource::Unusable;
        }
        let place = match (&rule.keys, &self.file) {
            // The rule asks for what cannot be done here.
            (KeySource::Unusable, _) | (KeySource::Inline(_) | KeySource::Elsewhere, None) => {
                return;
            }
            (_, Some(path)) => KeyPlace::File(Arc::clone(path)),
            (KeySource::Remote(source), None) => source.place.clone(),
        };
        let timeout = match &rule.keys {
            KeySource::Remote(source) => source.timeout,
            _ => super::request_authentication::DEFAULT_TIMEOUT,
        };
        rule.keys = KeySource::Remote(Arc::new(RemoteKeys {
            issuer: Arc::clone(&rule.issuer),
            place,
            timeout,
            options: self.options.clone(),
        }));
    }
}

fn paths(texts: &[String], draft: &mut Draft<'_>) -> Vec<CountedPath> {
    let mut paths = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match path_pattern(text) {
            Ok(pattern) => paths.push(CountedPath::from(&pattern)),
            Err(message) => {
                let path = FieldPath::of("spec.ignoreTokenPaths").index(index);
                draft.refuse(Reason::Invalid, path, message);
            }
        }
    }
    paths
}

fn refusals(spec: &JwtPolicySpec, draft: &mut Draft<'_>) -> Refusals {
    let challenge_missing_token = match spec.missing_token.as_ref().map(|missing| missing.status) {
        None | Some(403) => false,
        Some(401) => true,
        Some(other) => {
            let path = FieldPath::of("spec.missingToken.status");
            draft.refuse(Reason::Invalid, path, format!("{other} is neither 401 nor 403"));
            false
        }
    };
    let denied = spec.denied.as_ref().and_then(|denied| {
        let content_type = denied.content_type.as_deref().unwrap_or("text/plain");
        let Ok(content_type) = HeaderValue::from_str(content_type) else {
            let path = FieldPath::of("spec.denied.contentType");
            draft.refuse(Reason::Invalid, path, format!("{content_type:?} is no header value"));
            return None;
        };
        if denied.body.len() > MOST_BODY {
            let message = format!("has more than {MOST_BODY} bytes");
            draft.refuse(Reason::Invalid, FieldPath::of("spec.denied.body"), message);
            return None;
        }
        Some(Arc::new(DeniedBody { content_type, text: denied.body.clone().into() }))
    });
    let scope_challenge = match spec.insufficient_scope.as_ref().map(|scope| scope.challenge) {
        None | Some(Challenge::Silent) => ScopeChallenge::Silent,
        Some(Challenge::Error) => ScopeChallenge::Error,
        Some(Challenge::Scope) => ScopeChallenge::Scope,
    };
    Refusals { challenge_missing_token, denied, scope_challenge }
}

/// Of several policies that say something else, the oldest counts.
fn tell(told: &mut Refusals, new: &Refusals, draft: &mut Draft<'_>) {
    told.challenge_missing_token |= new.challenge_missing_token;
    match (&told.denied, &new.denied) {
        (Some(old), Some(new)) if old != new => {
            let message = "an older policy of this Gateway says something else";
            draft.refuse(Reason::Conflicted, FieldPath::of("spec.denied"), message);
        }
        (None, Some(_)) => told.denied.clone_from(&new.denied),
        _ => {}
    }
    match (told.scope_challenge, new.scope_challenge) {
        (_, ScopeChallenge::Silent) => {}
        (ScopeChallenge::Silent, _) => told.scope_challenge = new.scope_challenge,
        (old, new) if old == new => {}
        _ => {
            let message = "an older policy of this Gateway says something else";
            draft.refuse(Reason::Conflicted, FieldPath::of("spec.insufficientScope"), message);
        }
    }
}

struct Reader<'d, 'o> {
    path: FieldPath,
    draft: &'d mut Draft<'o>,
    broken: bool,
}

impl Reader<'_, '_> {
    fn refuse(&mut self, path: FieldPath, message: impl Into<String>) {
        self.broken = true;
        self.draft.refuse(Reason::Invalid, path, message);
    }

    fn settings(
        &mut self,
        wire: &IssuerSettings,
        loaded: &Loaded<JwtPolicy>,
        certificates: &Certificates,
    ) -> Settings {
        if wire.issuer.is_empty() {
            self.refuse(self.path.key("issuer"), "is empty; name an issuer");
        }
        for (index, claim) in wire.required_claims.iter().enumerate() {
            if claim.is_empty() {
                let path = self.path.key("requiredClaims").index(index);
                self.refuse(path, "is empty; name a claim");
            }
        }
        let clock_skew = self.duration("clockSkew", wire.clock_skew.as_deref());
        if clock_skew.is_some_and(|skew| skew > MOST_SKEW) {
            self.refuse(self.path.key("clockSkew"), "is more than an hour");
        }
        let options = self.options(&wire.keys, loaded, certificates);
        let file = wire.keys.file.as_deref().and_then(|file| self.file(file));
        Settings {
            gateway: 0,
            issuer: shared(&wire.issuer),
            clock_skew,
            claim_format: match wire.claim_format {
                None | Some(WireFormat::Envoy) => ClaimFormat::Envoy,
                Some(WireFormat::Json) => ClaimFormat::Json,
                Some(WireFormat::CommaList) => ClaimFormat::CommaList,
            },
            required_claims: wire.required_claims.iter().map(|claim| shared(claim)).collect(),
            file,
            options,
            broken: self.broken,
        }
    }

    fn file(&mut self, text: &str) -> Option<Arc<Path>> {
        let path = Path::new(text);
        if path.is_absolute() {
            return Some(path.into());
        }
        let message = format!("{text:?} is not an absolute path such as /etc/gateway/keys.json");
        self.refuse(self.path.key("keys.file"), message);
        None
    }

    fn options(
        &mut self,
        wire: &KeySettings,
        loaded: &Loaded<JwtPolicy>,
        certificates: &Certificates,
    ) -> FetchOptions {
        let usual = FetchOptions::default();
        let floor = self.pause("keys.minRefresh", wire.min_refresh.as_deref(), usual.floor);
        let ceiling = self.pause("keys.maxRefresh", wire.max_refresh.as_deref(), usual.ceiling);
        if floor > ceiling {
            let message = "is less than minRefresh (1m where that is left out)";
            self.refuse(self.path.key("keys.maxRefresh"), message);
        }
        let window =
            self.pause("keys.unknownKeyWindow", wire.unknown_key_window.as_deref(), usual.window);
        let proxy = wire.proxy.as_deref().and_then(|text| match KeyUrl::parse(text) {
            Ok(url) if !url.is_secure() && url.target() == "/" => Some(url),
            _ => {
                let message = format!("{text:?} is not a proxy such as http://proxy.example:3128");
                self.refuse(self.path.key("keys.proxy"), message);
                None
            }
        });
        let client_certificate = wire.client_certificate_ref.as_ref().and_then(|reference| {
            let found = certificates.find(&loaded.object.namespace, &reference.name);
            found.cloned().map_err(|message| self.unresolved(message)).ok()
        });
        FetchOptions {
            allow_private: wire.allow_private_addresses,
            authorities: wire.ca_certificates.as_deref().map(|pem| self.authorities(pem)),
            proxy,
            client_certificate,
            floor,
            ceiling,
            window,
        }
    }

    fn unresolved(&mut self, message: String) {
        self.broken = true;
        let path = self.path.key("keys.clientCertificateRef.name");
        self.draft.unresolved(Reason::InvalidCertificateRef, path, message);
    }

    fn authorities(&mut self, pem: &str) -> Arc<str> {
        let certificates: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        if !certificates.is_ok_and(|certificates| !certificates.is_empty()) {
            let message = "holds no CERTIFICATE block in PEM, or a broken one";
            self.refuse(self.path.key("keys.caCertificates"), message);
        }
        shared(pem)
    }

    /// A pause of a second at least, so that nobody asks an issuer all the time.
    fn pause(&mut self, field: &str, text: Option<&str>, usual: Duration) -> Duration {
        let pause = self.duration(field, text).unwrap_or(usual);
        if pause < Duration::from_secs(1) {
            self.refuse(self.path.key(field), "is less than a second");
        }
        pause
    }

    fn duration(&mut self, field: &str, text: Option<&str>) -> Option<Duration> {
        let read = duration(text?);
        if read.is_none() {
            self.refuse(self.path.key(field), "is not a duration such as \"30s\"");
        }
        read
    }
}
