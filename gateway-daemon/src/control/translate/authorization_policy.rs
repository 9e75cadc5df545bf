//! AuthorizationPolicy to [`Policy`].
//!
//! A broken rule keeps its position: of a DENY or CUSTOM policy it matches everything that the
//! policy targets, of any other it matches nothing.

use std::sync::Arc;

use http::HeaderName;

use super::super::bundle::{Bundle, Loaded};
use super::super::conditions::{ConditionType, Draft, ObjectReport, Reason};
use super::super::path::FieldPath;
use super::Model;
use super::attachment::{Attachment, shared};
use super::ext_authz_provider::Providers;
use crate::manifest::authorization_policy::{
    Action as WireAction, AuthorizationPolicy, AuthorizationPolicySpec, Condition as WireCondition,
    Operation as WireOperation, Rule as WireRule, Source as WireSource, Texts,
};
use crate::model::ext_authz::Provider;
use crate::model::policy::{
    Action, Attribute, Cidr, Condition, ConditionValues, Constraint, Operation, PathPattern,
    Pattern, Policy, Rule, Source,
};

const DRY_RUN: &str = "istio.io/dry-run";

/// Adds every AuthorizationPolicy to the Gateways that it applies to.
pub(super) fn translate(
    bundle: &Bundle,
    providers: &Providers,
    model: &mut Model,
    reports: &mut Vec<ObjectReport>,
) {
    for loaded in &bundle.authorization_policies {
        let mut draft = ObjectReport::open(loaded, None);
        let empty = AuthorizationPolicySpec::default();
        let spec = loaded.manifest.spec.as_ref().unwrap_or(&empty);
        let attachment = Attachment {
            object: &loaded.object,
            selector: spec.selector.as_ref(),
            target_ref: spec.target_ref.as_ref(),
            target_refs: &spec.target_refs,
        };
        let gateways = attachment.gateways(model, &mut draft);
        let policy = policy(loaded, spec, providers, &mut draft);
        for gateway in gateways {
            model.gateways[gateway].policies.push(policy.clone());
        }
        let both = [ConditionType::Accepted, ConditionType::ResolvedRefs];
        let kinds = if policy.action == Action::Custom { &both[..] } else { &both[..1] };
        reports.push(draft.finish(kinds));
    }
}

fn policy(
    loaded: &Loaded<AuthorizationPolicy>,
    spec: &AuthorizationPolicySpec,
    providers: &Providers,
    draft: &mut Draft<'_>,
) -> Policy {
    let action = match spec.action {
        None | Some(WireAction::Allow) => Action::Allow,
        Some(WireAction::Deny) => Action::Deny,
        Some(WireAction::Audit) => Action::Audit,
        Some(WireAction::Custom) => Action::Custom,
    };
    let provider = provider(loaded, spec, action, providers, draft);
    if action == Action::Custom && spec.rules.is_empty() {
        draft.note("a CUSTOM policy without rules matches nothing, so that nobody is asked");
    }
    let list = FieldPath::of("spec.rules");
    let rules = spec.rules.iter().enumerate().map(|(index, rule)| {
        let mut translator = RuleTranslator { draft: &mut *draft, action, broken: false };
        let translated = translator.rule(rule, &list.index(index));
        match (translator.broken, action) {
            (false, _) => translated,
            (true, Action::Deny | Action::Custom) => Rule::default(),
            (true, Action::Allow | Action::Audit) => never(),
        }
    });
    let rules = rules.collect();
    let dry_run = dry_run(loaded, draft);
    Policy { object: loaded.object.clone(), action, dry_run, rules, provider }
}

/// Whom a CUSTOM policy asks; none: nobody, so that what it matches is refused.
fn provider(
    loaded: &Loaded<AuthorizationPolicy>,
    spec: &AuthorizationPolicySpec,
    action: Action,
    providers: &Providers,
    draft: &mut Draft<'_>,
) -> Option<Arc<Provider>> {
    let path = FieldPath::of("spec.provider");
    match (&spec.provider, action) {
        (None, Action::Custom) => {
            let message = "is missing; name the ExtAuthzProvider to ask. Until then, what the \
                           policy matches is refused";
            draft.refuse(Reason::Invalid, path, message);
            None
        }
        (None, _) => None,
        (Some(named), Action::Custom) => {
            let found = providers.find(&loaded.object.namespace, &named.name);
            found
                .map_err(|message| {
                    draft.unresolved(Reason::ProviderNotFound, path.key("name"), message);
                })
                .ok()
        }
        (Some(_), _) => {
            let message = "means something with the action CUSTOM only; remove one of the two";
            draft.refuse(Reason::Invalid, path, message);
            None
        }
    }
}

/// The rule that matches nothing: a method that is any and none.
fn never() -> Rule {
    let methods = Constraint { values: vec![Pattern::Present], not_values: vec![Pattern::Present] };
    Rule { to: vec![Operation { methods, ..Operation::default() }], ..Rule::default() }
}

fn dry_run(loaded: &Loaded<AuthorizationPolicy>, draft: &mut Draft<'_>) -> bool {
    match loaded.manifest.metadata.annotations.get(DRY_RUN).map(String::as_str) {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            let path = FieldPath::of("metadata.annotations").name(DRY_RUN);
            let message = format!("{other:?} is not \"true\" or \"false\"; the policy is in force");
            draft.refuse(Reason::Invalid, path, message);
            false
        }
    }
}

struct RuleTranslator<'d, 'o> {
    draft: &'d mut Draft<'o>,
    action: Action,
    broken: bool,
}

impl RuleTranslator<'_, '_> {
    fn refuse(&mut self, path: FieldPath, message: impl Into<String>) {
        self.broken = true;
        self.draft.refuse(Reason::Invalid, path, message);
    }

    fn rule(&mut self, wire: &WireRule, path: &FieldPath) -> Rule {
        let mut rule = Rule::default();
        for (index, from) in self.entries(wire.from.as_deref(), &path.key("from")) {
            let path = path.key("from").index(index).key("source");
            rule.from.push(self.source(&from.source, &path));
        }
        for (index, to) in self.entries(wire.to.as_deref(), &path.key("to")) {
            let path = path.key("to").index(index).key("operation");
            rule.to.push(self.operation(&to.operation, &path));
        }
        for (index, when) in self.entries(wire.when.as_deref(), &path.key("when")) {
            rule.when.extend(self.condition(when, &path.key("when").index(index)));
        }
        rule
    }

    /// Entries of a list; an empty list is refused, since its author may have meant "nothing" and
    /// Istio means "everything".
    fn entries<'l, T>(
        &mut self,
        list: Option<&'l [T]>,
        path: &FieldPath,
    ) -> impl Iterator<Item = (usize, &'l T)> + use<'l, T> {
        if list.is_some_and(<[T]>::is_empty) {
            self.refuse(path.clone(), "is empty; remove it, or name what it should match");
        }
        list.unwrap_or_default().iter().enumerate()
    }

    fn source(&mut self, wire: &WireSource, path: &FieldPath) -> Source {
        let at = |field: &str| path.key(field);
        let broken_before = std::mem::take(&mut self.broken);
        let source = Source {
            principals: self.both(
                (&wire.principals, at("principals")),
                (&wire.not_principals, at("notPrincipals")),
                pattern,
            ),
            request_principals: self.both(
                (&wire.request_principals, at("requestPrincipals")),
                (&wire.not_request_principals, at("notRequestPrincipals")),
                text,
            ),
            namespaces: self.both(
                (&wire.namespaces, at("namespaces")),
                (&wire.not_namespaces, at("notNamespaces")),
                pattern,
            ),
            service_accounts: self.both(
                (&wire.service_accounts, at("serviceAccounts")),
                (&wire.not_service_accounts, at("notServiceAccounts")),
                pattern,
            ),
            ip_blocks: self.both(
                (&wire.ip_blocks, at("ipBlocks")),
                (&wire.not_ip_blocks, at("notIpBlocks")),
                cidr,
            ),
            remote_ip_blocks: self.both(
                (&wire.remote_ip_blocks, at("remoteIpBlocks")),
                (&wire.not_remote_ip_blocks, at("notRemoteIpBlocks")),
                cidr,
            ),
        };
        if !self.broken && source == Source::default() {
            self.refuse(path.clone(), "names nothing; remove it, or name what it should match");
        }
        self.broken |= broken_before;
        let Constraint { values, not_values } = &source.request_principals;
        for (list, field) in [(values, "requestPrincipals"), (not_values, "notRequestPrincipals")] {
            if !list.is_empty() {
                self.needs_no_identity(path.key(field));
            }
        }
        source
    }

    /// Providers are asked before tokens are looked at, as with Istio: a rule that waits for a
    /// token would never match there, and its negation always.
    fn needs_no_identity(&mut self, path: FieldPath) {
        if self.action == Action::Custom {
            let message = "is not known yet when a provider is asked; the action CUSTOM comes \
                           before tokens are checked. Remove it, or check it by a DENY policy";
            self.refuse(path, message);
        }
    }

    fn operation(&mut self, wire: &WireOperation, path: &FieldPath) -> Operation {
        let at = |field: &str| path.key(field);
        let broken_before = std::mem::take(&mut self.broken);
        let operation = Operation {
            hosts: self.both(
                (&wire.hosts, at("hosts")),
                (&wire.not_hosts, at("notHosts")),
                pattern,
            ),
            ports: self.both((&wire.ports, at("ports")), (&wire.not_ports, at("notPorts")), port),
            methods: self.both(
                (&wire.methods, at("methods")),
                (&wire.not_methods, at("notMethods")),
                pattern,
            ),
            paths: self.both(
                (&wire.paths, at("paths")),
                (&wire.not_paths, at("notPaths")),
                path_pattern,
            ),
        };
        if !self.broken && operation == Operation::default() {
            self.refuse(path.clone(), "names nothing; remove it, or name what it should match");
        }
        self.broken |= broken_before;
        operation
    }

    fn condition(&mut self, wire: &WireCondition, path: &FieldPath) -> Option<Condition> {
        let attribute = match attribute(&wire.key) {
            Ok(attribute) => attribute,
            Err(message) => {
                self.refuse(path.key("key"), message);
                return None;
            }
        };
        if wire.values.is_none() && wire.not_values.is_none() {
            self.refuse(path.clone(), "has neither values nor notValues");
            return None;
        }
        if matches!(
            attribute,
            Attribute::RequestPrincipal
                | Attribute::Audiences
                | Attribute::Presenter
                | Attribute::Claim(_)
        ) {
            self.needs_no_identity(path.key("key"));
        }
        let values = (&wire.values, path.key("values"));
        let not_values = (&wire.not_values, path.key("notValues"));
        let values = match &attribute {
            Attribute::SourceIp | Attribute::RemoteIp | Attribute::DestinationIp => {
                ConditionValues::Ip(self.both(values, not_values, cidr))
            }
            Attribute::DestinationPort => {
                ConditionValues::Port(self.both(values, not_values, port))
            }
            Attribute::RequestPrincipal => {
                ConditionValues::Principal(self.both(values, not_values, text))
            }
            // A claim or header may be the empty text, so these may name it.
            _ => ConditionValues::Text(self.both(values, not_values, |t| Ok(Pattern::parse(t)))),
        };
        Some(Condition { attribute, values })
    }

    fn both<T>(
        &mut self,
        values: (&Texts, FieldPath),
        not_values: (&Texts, FieldPath),
        read: fn(&str) -> Result<T, String>,
    ) -> Constraint<T> {
        Constraint { values: self.list(values, read), not_values: self.list(not_values, read) }
    }

    fn list<T>(
        &mut self,
        (texts, path): (&Texts, FieldPath),
        read: fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let mut values = Vec::new();
        for (index, text) in self.entries(texts.as_deref(), &path) {
            match read(text) {
                Ok(value) => values.push(value),
                Err(message) => self.refuse(path.index(index), message),
            }
        }
        values
    }
}

fn text(text: &str) -> Result<Arc<str>, String> {
    if text.is_empty() { Err("is empty".to_owned()) } else { Ok(shared(text)) }
}

fn pattern(pattern: &str) -> Result<Pattern, String> {
    text(pattern).map(|pattern| Pattern::parse(&pattern))
}

fn cidr(text: &str) -> Result<Cidr, String> {
    Cidr::parse(text).map_err(|error| error.to_string())
}

fn port(text: &str) -> Result<u16, String> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let port = text.parse().ok().filter(|port| digits && *port != 0);
    port.ok_or_else(|| format!("{text:?} is not a port; use \"1\" to \"65535\""))
}

/// A path pattern; with a brace it is a template: `{*}` for one segment, one `{**}` for any rest,
/// after which only text follows, and no other star or brace (Istio and Envoy's URI templates).
pub(super) fn path_pattern(path: &str) -> Result<PathPattern, String> {
    if !path.contains(['{', '}']) {
        return pattern(path).map(PathPattern::Text);
    }
    let invalid = |why: &str| Err(format!("{path:?} is not a path template: {why}"));
    let mut rest_seen = false;
    for segment in path.split('/') {
        match segment {
            "{*}" | "{**}" if rest_seen => return invalid("nothing but text may follow {**}"),
            "{**}" => rest_seen = true,
            "{*}" => {}
            text if text.contains(['{', '}', '*']) => {
                return invalid(
                    "{*} and {**} stand for whole segments, and no other star or brace",
                );
            }
            _ => {}
        }
    }
    if !path.starts_with('/') {
        return invalid("it does not start with a slash");
    }
    Ok(PathPattern::Template(shared(path)))
}

fn attribute(key: &str) -> Result<Attribute, String> {
    if let Some(rest) = key.strip_prefix("request.headers") {
        let name = brackets(rest)
            .filter(|names| names.len() == 1)
            .and_then(|names| names.first().copied());
        return name
            .and_then(header)
            .map(Attribute::RequestHeader)
            .ok_or_else(|| format!("{key:?} does not name a header; write request.headers[name]"));
    }
    if let Some(rest) = key.strip_prefix("request.auth.claims") {
        return brackets(rest)
            .map(|names| Attribute::Claim(names.into_iter().map(shared).collect()))
            .ok_or_else(|| {
                format!("{key:?} does not name a claim; write request.auth.claims[a] or [a][b]")
            });
    }
    Ok(match key {
        "source.ip" => Attribute::SourceIp,
        "remote.ip" => Attribute::RemoteIp,
        "source.namespace" => Attribute::SourceNamespace,
        "source.principal" => Attribute::SourcePrincipal,
        "source.serviceAccount" => Attribute::SourceServiceAccount,
        "request.auth.principal" => Attribute::RequestPrincipal,
        "request.auth.audiences" => Attribute::Audiences,
        "request.auth.presenter" => Attribute::Presenter,
        "destination.ip" => Attribute::DestinationIp,
        "destination.port" => Attribute::DestinationPort,
        "connection.sni" => Attribute::Sni,
        other => {
            return Err(format!(
                "{other:?} is not an attribute that a gateway has; use source.ip, remote.ip, \
                 source.namespace, source.principal, source.serviceAccount, request.headers[..], \
                 request.auth.principal, request.auth.audiences, request.auth.presenter, \
                 request.auth.claims[..], destination.ip, destination.port or connection.sni"
            ));
        }
    })
}

/// `[a][b]` to `a`, `b`; none of them empty.
fn brackets(text: &str) -> Option<Vec<&str>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let names: Vec<&str> = inner.split("][").collect();
    names.iter().all(|name| !name.is_empty()).then_some(names)
}

fn header(name: &str) -> Option<Arc<str>> {
    if matches!(name, ":path" | ":method" | ":scheme" | ":authority") {
        return Some(shared(name));
    }
    HeaderName::from_bytes(name.as_bytes()).ok().map(|name| shared(name.as_str()))
}
