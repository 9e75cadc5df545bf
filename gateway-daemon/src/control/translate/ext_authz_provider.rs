//! ExtAuthzProvider to [`Provider`].
//!
//! A provider that is wrong anywhere is no provider: requests that would be asked about are refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

use super::super::bundle::{Bundle, Loaded};
use super::super::conditions::{ConditionType, Draft, ObjectReport, Reason};
use super::super::path::FieldPath;
use super::attachment::{ROOT_NAMESPACE, shared};
use super::duration::duration;
use super::reference::{Grants, OWN_GROUP, Target, not_permitted};
use super::service::Services;
use crate::manifest::ext_authz_provider::{
    ExtAuthzProvider, GrpcProvider, HttpProvider, RequestBody,
};
use crate::model::backend::{Upstream, UpstreamProtocol};
use crate::model::ext_authz::{BodyInCheck, Check, HttpCheck, Provider, Tally, is_own_header};
use crate::model::policy::Pattern;

/// Istio's default is ten minutes, and counts on other means to shorten it.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// A body that a provider is shown is held in memory.
const MOST_BODY: usize = 16 << 20;

/// Every ExtAuthzProvider by namespace and name; none in place of one that is wrong.
pub(super) struct Providers(BTreeMap<Key, Option<Arc<Provider>>>);

/// Namespace and name.
type Key = (Arc<str>, Arc<str>);

impl Providers {
    /// Of a bundle.
    pub(super) fn new(
        bundle: &Bundle,
        services: &Services<'_>,
        grants: &Grants<'_>,
        reports: &mut Vec<ObjectReport>,
    ) -> Self {
        let providers = bundle.ext_authz_providers.iter().map(|loaded| {
            let mut draft = ObjectReport::open(loaded, None);
            let read = Reader { loaded, services, grants, draft: &mut draft, broken: false }.read();
            reports.push(draft.finish(&[ConditionType::Accepted, ConditionType::ResolvedRefs]));
            let object = &loaded.object;
            ((Arc::clone(&object.namespace), Arc::clone(&object.name)), read.map(Arc::new))
        });
        Self(providers.collect())
    }

    /// The provider that a policy in `namespace` names: one of its own namespace, else of the root
    /// namespace. Otherwise what is wrong.
    pub(super) fn find(&self, namespace: &Arc<str>, name: &str) -> Result<Arc<Provider>, String> {
        let places = [Arc::clone(namespace), shared(ROOT_NAMESPACE)];
        for place in places {
            match self.0.get(&(Arc::clone(&place), shared(name))) {
                Some(Some(provider)) => return Ok(Arc::clone(provider)),
                Some(None) => {
                    return Err(format!(
                        "ExtAuthzProvider {place}/{name} is not accepted, so that what it should \
                         be asked about is refused; correct it"
                    ));
                }
                None => {}
            }
        }
        Err(format!(
            "no ExtAuthzProvider {name:?} is in {namespace} or {ROOT_NAMESPACE}, so that what it \
             should be asked about is refused; add it"
        ))
    }
}

struct Reader<'d, 'b, 'o> {
    loaded: &'d Loaded<ExtAuthzProvider>,
    services: &'d Services<'b>,
    grants: &'d Grants<'b>,
    draft: &'d mut Draft<'o>,
    broken: bool,
}

/// What both kinds of provider say.
struct Common<'w> {
    path: FieldPath,
    service: &'w str,
    port: u16,
    timeout: Option<&'w str>,
    fail_open: bool,
    status_on_error: Option<&'w str>,
    body: Option<&'w RequestBody>,
}

/// The two kinds have these fields by the same names.
macro_rules! common {
    ($wire:expr, $path:expr) => {
        Common {
            path: $path,
            service: &$wire.service,
            port: $wire.port.0,
            timeout: $wire.timeout.as_deref(),
            fail_open: $wire.fail_open,
            status_on_error: $wire.status_on_error.as_deref(),
            body: $wire.include_request_body_in_check.as_ref(),
        }
    };
}

impl Reader<'_, '_, '_> {
    fn read(mut self) -> Option<Provider> {
        let spec = &self.loaded.manifest.spec;
        let provider = match (&spec.envoy_ext_authz_http, &spec.envoy_ext_authz_grpc) {
            (Some(http), None) => self.http(http),
            (None, Some(grpc)) => self.grpc(grpc),
            _ => {
                let message = "has to have one of envoyExtAuthzHttp and envoyExtAuthzGrpc";
                self.refuse(FieldPath::of("spec"), message);
                None
            }
        };
        provider.filter(|_| !self.broken)
    }

    fn http(&mut self, wire: &HttpProvider) -> Option<Provider> {
        let path = FieldPath::of("spec.envoyExtAuthzHttp");
        let check = HttpCheck {
            path_prefix: self.prefix(wire.path_prefix.as_deref(), &path.key("pathPrefix")),
            request_headers: self.patterns(
                &wire.include_request_headers_in_check,
                &path.key("includeRequestHeadersInCheck"),
            ),
            additional_headers: self.additional(
                &wire.include_additional_headers_in_check,
                &path.key("includeAdditionalHeadersInCheck"),
            ),
            to_upstream_on_allow: self.patterns(
                &wire.headers_to_upstream_on_allow,
                &path.key("headersToUpstreamOnAllow"),
            ),
            to_client_on_allow: self.patterns(
                &wire.headers_to_downstream_on_allow,
                &path.key("headersToDownstreamOnAllow"),
            ),
            to_client_on_deny: self.patterns(
                &wire.headers_to_downstream_on_deny,
                &path.key("headersToDownstreamOnDeny"),
            ),
        };
        if wire.include_request_body_in_check.as_ref().is_some_and(|body| body.pack_as_bytes) {
            self.draft.note("packAsBytes says nothing to an HTTP provider");
        }
        self.provider(&common!(wire, path), Check::Http(check))
    }

    fn grpc(&mut self, wire: &GrpcProvider) -> Option<Provider> {
        let path = FieldPath::of("spec.envoyExtAuthzGrpc");
        self.provider(&common!(wire, path), Check::Grpc)
    }

    fn provider(&mut self, common: &Common<'_>, check: Check) -> Option<Provider> {
        let path = &common.path;
        let timeout = self.timeout(common.timeout, path.key("timeout"));
        let status_on_error = self.status(common.status_on_error, path.key("statusOnError"));
        let body = common
            .body
            .map(|body| self.body(body, &path.key("includeRequestBodyInCheck.maxRequestBytes")));
        let (upstream, authority) = self.service(common, &check)?;
        Some(Provider {
            object: self.loaded.object.clone(),
            upstream,
            authority,
            timeout,
            fail_open: common.fail_open,
            status_on_error,
            body,
            check,
            tally: Arc::new(Tally::default()),
        })
    }

    fn refuse(&mut self, path: FieldPath, message: impl Into<String>) {
        self.broken = true;
        self.draft.refuse(Reason::Invalid, path, message);
    }

    /// The Service port, and the name that it is called by.
    fn service(&mut self, common: &Common<'_>, check: &Check) -> Option<(Arc<Upstream>, Arc<str>)> {
        let path = common.path.key("service");
        let holder = &self.loaded.object.namespace;
        let Some((name, namespace)) = service_name(common.service, holder) else {
            let message = format!(
                "{:?} is no Service; write NAME, NAME.NAMESPACE or \
                 NAME.NAMESPACE.svc.cluster.local, with or without NAMESPACE/ before it",
                common.service
            );
            self.refuse(path, message);
            return None;
        };
        let target = Target { kind: "Service", namespace, name };
        // Who may write to the root namespace configures the whole mesh with Istio too.
        let permitted = **holder == *ROOT_NAMESPACE
            || self.grants.permit_of(OWN_GROUP, "ExtAuthzProvider", holder, &target);
        if !permitted {
            let message = not_permitted("an ExtAuthzProvider", holder, &target);
            self.draft.unresolved(Reason::RefNotPermitted, path, message);
            return None;
        }
        let upstream = match self.services.resolve(&shared(namespace), name, common.port) {
            Ok(upstream) => upstream,
            Err((reason, message)) => {
                self.draft.unresolved(reason, path, message);
                return None;
            }
        };
        let authority = format!("{name}.{namespace}.svc.cluster.local:{}", common.port);
        // gRPC is HTTP/2, whatever the Service says of its port.
        let upstream = match check {
            Check::Grpc if upstream.protocol != UpstreamProtocol::H2c => {
                Arc::new(Upstream { protocol: UpstreamProtocol::H2c, ..(*upstream).clone() })
            }
            _ => upstream,
        };
        Some((upstream, authority.into()))
    }

    fn timeout(&mut self, text: Option<&str>, path: FieldPath) -> Duration {
        let Some(text) = text else { return DEFAULT_TIMEOUT };
        let read = duration(text).filter(|timeout| !timeout.is_zero());
        if read.is_none() {
            self.refuse(path, format!("{text:?} is not a duration above zero such as \"500ms\""));
        }
        read.unwrap_or(DEFAULT_TIMEOUT)
    }

    fn status(&mut self, text: Option<&str>, path: FieldPath) -> StatusCode {
        let Some(text) = text else { return StatusCode::FORBIDDEN };
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        let status = text.parse().ok().filter(|_| digits).map(StatusCode::from_u16);
        match status {
            Some(Ok(status)) if status.is_client_error() || status.is_server_error() => status,
            _ => {
                let message = format!("{text:?} is no status of an error; use \"400\" to \"599\"");
                self.refuse(path, message);
                StatusCode::FORBIDDEN
            }
        }
    }

    fn body(&mut self, wire: &RequestBody, path: &FieldPath) -> BodyInCheck {
        let most = usize::try_from(wire.max_request_bytes).unwrap_or(0);
        if !(1..=MOST_BODY).contains(&most) {
            let message = format!("{} is not 1 to {MOST_BODY}", wire.max_request_bytes);
            self.refuse(path.clone(), message);
        }
        BodyInCheck {
            max_bytes: most,
            allow_partial: wire.allow_partial_message,
            as_bytes: wire.pack_as_bytes,
        }
    }

    fn prefix(&mut self, text: Option<&str>, path: &FieldPath) -> Arc<str> {
        let text = text.unwrap_or_default();
        let valid = |text: &str| {
            text.starts_with('/')
                && !text.contains(['?', '#'])
                && text.bytes().all(|b| b.is_ascii_graphic())
        };
        if !text.is_empty() && !valid(text) {
            self.refuse(path.clone(), format!("{text:?} is not a path such as \"/check\""));
        }
        shared(text)
    }

    /// Names of headers: exact, or with a star before or behind.
    fn patterns(&mut self, texts: &[String], path: &FieldPath) -> Vec<Pattern> {
        let mut patterns = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let pattern = Pattern::parse(&text.to_ascii_lowercase());
            let name = match &pattern {
                Pattern::Exact(name) | Pattern::Prefix(name) | Pattern::Suffix(name) => &**name,
                Pattern::Present => "",
            };
            if HeaderName::from_bytes(name.as_bytes()).is_ok_and(|_| !name.contains('*')) {
                patterns.push(pattern);
            } else {
                let message =
                    format!("{text:?} is no header name such as \"x-a\", \"x-*\", \"*-a\"");
                self.refuse(path.index(index), message);
            }
        }
        patterns
    }

    fn additional(
        &mut self,
        wire: &BTreeMap<String, String>,
        path: &FieldPath,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::new();
        for (name, value) in wire {
            let read = (HeaderName::try_from(name), HeaderValue::try_from(value));
            match read {
                (Ok(name), _) if is_own_header(&name) => {
                    let message = "is written by the gateway; remove it";
                    self.refuse(path.name(name.as_str()), message);
                }
                (Ok(name), Ok(value)) => headers.push((name, value)),
                _ => self.refuse(path.name(name), "is no header, or its value is none"),
            }
        }
        headers
    }
}

/// `[NAMESPACE/]NAME[.NAMESPACE[.svc[.cluster.local]]]` to name and namespace.
fn service_name<'t>(text: &'t str, holder: &'t str) -> Option<(&'t str, &'t str)> {
    let (prefix, host) = match text.split_once('/') {
        Some((namespace, host)) => (Some(namespace), host),
        None => (None, text),
    };
    let host = host.strip_suffix(".svc.cluster.local").or(host.strip_suffix(".svc"));
    let bare = host.unwrap_or_else(|| text.split_once('/').map_or(text, |(_, host)| host));
    let (name, named) = match bare.split_once('.') {
        Some((name, namespace)) => (name, Some(namespace)),
        None if host.is_some() => return None,
        None => (bare, None),
    };
    let namespace = match (prefix, named) {
        (Some(a), Some(b)) if a != b => return None,
        (a, b) => a.or(b).unwrap_or(holder),
    };
    let label = |text: &str| !text.is_empty() && !text.contains(['.', '/']);
    (label(name) && label(namespace)).then_some((name, namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_named_as_istio_names_them() {
        for (text, expected) in [
            ("authz", Some(("authz", "own"))),
            ("authz.foo", Some(("authz", "foo"))),
            ("authz.foo.svc", Some(("authz", "foo"))),
            ("authz.foo.svc.cluster.local", Some(("authz", "foo"))),
            ("foo/authz", Some(("authz", "foo"))),
            ("foo/authz.foo.svc.cluster.local", Some(("authz", "foo"))),
            ("bar/authz.foo.svc.cluster.local", None),
            ("authz.svc", None),
            ("authz.foo.example.com", None),
            ("authz.foo.svc.cluster.local.", None),
            ("foo/", None),
            ("/authz", None),
            ("a/b/c", None),
            ("", None),
        ] {
            assert_eq!(service_name(text, "own"), expected, "{text:?}");
        }
    }
}
