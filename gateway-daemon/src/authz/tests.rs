//! Tests of `authz`, tables with named rows.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, StatusCode};

use super::*;
use crate::model::backend::{Upstream, UpstreamProtocol};
use crate::model::ext_authz::{Check, Provider};
use crate::model::identity::Claim;
use crate::model::object::ObjectRef;
use crate::model::policy::{
    Attribute, Cidr, Condition, ConditionValues, Constraint, Operation, PathPattern, Pattern,
    Rule as ModelRule, Source,
};
use crate::request::{Proxied, Scheme};

fn policy(name: &str, action: Action, rules: Vec<ModelRule>) -> Policy {
    let object =
        ObjectRef { kind: "AuthorizationPolicy", namespace: "default".into(), name: name.into() };
    Policy { object, action, dry_run: false, rules, provider: None }
}

fn texts(values: &[&str]) -> Constraint<Pattern> {
    Constraint { values: values.iter().map(|v| Pattern::parse(v)).collect(), not_values: vec![] }
}

fn no_texts(values: &[&str]) -> Constraint<Pattern> {
    Constraint { values: vec![], not_values: values.iter().map(|v| Pattern::parse(v)).collect() }
}

fn path(text: &str) -> PathPattern {
    if text.contains('{') {
        PathPattern::Template(text.into())
    } else {
        PathPattern::Text(Pattern::parse(text))
    }
}

fn paths(values: &[&str]) -> Constraint<PathPattern> {
    Constraint { values: values.iter().map(|v| path(v)).collect(), not_values: vec![] }
}

fn principals(value: &str) -> Constraint<Arc<str>> {
    Constraint { values: vec![value.into()], not_values: vec![] }
}

fn to(operation: Operation) -> ModelRule {
    ModelRule { to: vec![operation], ..ModelRule::default() }
}

fn to_paths(values: &[&str]) -> ModelRule {
    to(Operation { paths: paths(values), ..Operation::default() })
}

fn from(source: Source) -> ModelRule {
    ModelRule { from: vec![source], ..ModelRule::default() }
}

fn when(attribute: Attribute, texts: Constraint<Pattern>) -> ModelRule {
    let values = ConditionValues::Text(texts);
    ModelRule { when: vec![Condition { attribute, values }], ..ModelRule::default() }
}

fn view(method: &str, target: &str, headers: &[(&str, &str)]) -> RequestView {
    let mut request = Request::builder().method(method).uri(target);
    if headers.iter().all(|(name, _)| *name != "host") {
        request = request.header("host", "gw.test");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    RequestView::read(request.body(()).unwrap().into_parts().0, &conn()).unwrap()
}

fn conn() -> ConnMeta {
    ConnMeta {
        peer: SocketAddr::from(([10, 1, 2, 3], 40000)),
        local: SocketAddr::from(([127, 0, 0, 1], 8080)),
        scheme: Scheme::Http,
        sni: None,
        proxied: None,
    }
}

/// Decides about a request that nobody has to be asked about.
fn decide(
    engine: &Engine,
    view: &RequestView,
    identity: Option<&Identity>,
) -> Result<Permit, Denial> {
    match engine.consult(view, &conn())? {
        Consultation::Vetted(vetted) => engine.decide(vetted, view, &conn(), identity),
        Consultation::Ask(pending) => panic!("{} has to be asked", pending.provider().object),
    }
}

fn allows(rule: &ModelRule, view: &RequestView, identity: Option<&Identity>) -> bool {
    let engine = Engine::compile(vec![policy("p", Action::Allow, vec![rule.clone()])]);
    decide(&engine, view, identity).is_ok()
}

fn identity(claims: Vec<(&str, Claim)>) -> Identity {
    let claims = claims.into_iter().map(|(name, claim)| (name.into(), claim)).collect();
    Identity {
        issuer: "https://a.test".into(),
        subject: Some("alice".into()),
        claims: Arc::new(Claim::Object(claims)),
        space_delimited: Arc::from(["scope".into(), "permission".into()]),
    }
}

fn string(text: &str) -> Claim {
    Claim::String(text.into())
}

#[test]
fn deny_comes_before_allow_and_audit_decides_nothing() {
    let root = view("GET", "/", &[]);
    let everything = || vec![ModelRule::default()];
    let nothing = Vec::new;
    let dry = |policy: Policy| Policy { dry_run: true, ..policy };
    let rows: [(&str, Vec<Policy>, Result<(), Reason>); 10] = [
        ("no policy", vec![], Ok(())),
        (
            "ALLOW without rules",
            vec![policy("a", Action::Allow, nothing())],
            Err(Reason::PolicyNotAllowed),
        ),
        ("DENY without rules", vec![policy("d", Action::Deny, nothing())], Ok(())),
        ("AUDIT without rules", vec![policy("u", Action::Audit, nothing())], Ok(())),
        ("ALLOW all", vec![policy("a", Action::Allow, everything())], Ok(())),
        ("DENY all", vec![policy("d", Action::Deny, everything())], Err(Reason::PolicyDenied)),
        (
            "both",
            vec![policy("a", Action::Allow, everything()), policy("d", Action::Deny, everything())],
            Err(Reason::PolicyDenied),
        ),
        (
            "two ALLOW, one matches",
            vec![policy("a", Action::Allow, nothing()), policy("b", Action::Allow, everything())],
            Ok(()),
        ),
        ("ALLOW in dry run", vec![dry(policy("a", Action::Allow, nothing()))], Ok(())),
        ("DENY in dry run", vec![dry(policy("d", Action::Deny, everything()))], Ok(())),
    ];
    for (name, policies, expected) in rows {
        let decision = decide(&Engine::compile(policies), &root, None);
        assert_eq!(decision.map(|_| ()).map_err(|denial| denial.reason), expected, "{name}");
    }
}

#[test]
fn the_first_rule_that_matches_is_named() {
    let rules =
        vec![to_paths(&["/b"]), to_paths(&["/a*"]), to_paths(&["/a"]), ModelRule::default()];
    let engine = Engine::compile(vec![
        policy("none", Action::Allow, vec![to_paths(&["/none"])]),
        policy("some", Action::Allow, rules.clone()),
    ]);
    for (target, expected) in [("/a", 1), ("/b", 0), ("/abc", 1), ("/c", 3)] {
        let permit = decide(&engine, &view("GET", target, &[]), None).unwrap();
        let decided = permit.decided_by().unwrap();
        assert_eq!((&*decided.policy.name, decided.rule), ("some", expected), "{target}");
    }
    let engine = Engine::compile(vec![policy("deny", Action::Deny, rules)]);
    let denial = decide(&engine, &view("GET", "/a", &[]), None).unwrap_err();
    assert_eq!(denial.decided_by.unwrap().rule, 1);
}

#[test]
fn shadow_policies_say_what_they_would_have_done() {
    let dry = |policy: Policy| Policy { dry_run: true, ..policy };
    let engine = Engine::compile(vec![
        policy(
            "audit",
            Action::Audit,
            vec![to_paths(&["/x"]), to_paths(&["/a"]), to_paths(&["/a*"])],
        ),
        dry(policy("deny", Action::Deny, vec![to_paths(&["/a"])])),
        dry(policy("allow", Action::Allow, vec![to_paths(&["/b"])])),
        policy("real", Action::Allow, vec![ModelRule::default()]),
    ]);
    let matched = engine.shadow(&view("GET", "/a", &[]), &conn(), None);
    let matched: Vec<_> =
        matched.iter().map(|m| (&*m.matched.policy.name, m.matched.rule, m.action)).collect();
    assert_eq!(matched, [("audit", 1, Action::Audit), ("deny", 0, Action::Deny)]);
    assert!(Engine::compile(vec![]).shadow(&view("GET", "/a", &[]), &conn(), None).is_empty());
}

#[test]
fn shadow_policies_are_counted_over_reloads_while_they_are_configured() {
    let dry = |name, action, path| Policy {
        dry_run: true,
        ..policy(name, action, vec![to_paths(&[path]), to_paths(&[path])])
    };
    let empty = Policy { rules: vec![], ..dry("none", Action::Allow, "/") };
    let first = Engine::compile(vec![dry("a", Action::Deny, "/a"), empty.clone()]);
    let second = Engine::compile(vec![dry("a", Action::Deny, "/b"), dry("b", Action::Deny, "/a")]);
    let ask = |engine: &Engine| {
        engine.count_shadow(&engine.shadow(&view("GET", "/a", &[]), &conn(), None));
    };
    let ledger = ShadowLedger::default();
    let shown = || -> Vec<_> {
        let totals = ledger.totals().into_iter();
        totals.map(|t| (t.policy.name.to_string(), t.matched, t.unmatched)).collect()
    };
    let row = |name: &str, matched, unmatched| (name.to_owned(), matched, unmatched);
    ledger.follow(first.shadow_tally().into_iter().collect());
    ask(&first);
    ask(&first);
    assert_eq!(shown(), [row("a", 2, 0), row("none", 0, 2)]);
    ledger.follow(second.shadow_tally().into_iter().collect());
    assert_eq!(shown(), [row("a", 2, 0), row("b", 0, 0)]);
    ask(&second);
    // A request that was under way while the other engine came.
    ask(&first);
    assert_eq!(shown(), [row("a", 3, 1), row("b", 1, 0)]);
    drop(first);
    ledger.follow(second.shadow_tally().into_iter().collect());
    assert_eq!(shown(), [row("a", 3, 1), row("b", 1, 0)]);
    // Two Gateways with one policy; the other policy is gone.
    let both = [dry("b", Action::Deny, "/a"), dry("b", Action::Deny, "/a")];
    let both = both.map(|policy| Engine::compile(vec![policy]));
    ledger.follow(both.iter().filter_map(Engine::shadow_tally).collect());
    both.iter().for_each(ask);
    assert_eq!(shown(), [row("b", 3, 0)]);
    let turned = Engine::compile(vec![dry("b", Action::Audit, "/a"), empty]);
    ledger.follow(turned.shadow_tally().into_iter().collect());
    assert_eq!(shown(), [row("b", 0, 0), row("none", 0, 0)]);
    assert!(Engine::compile(vec![policy("real", Action::Deny, vec![])]).shadow_tally().is_none());
}

#[test]
fn hosts_are_authorities_in_any_case() {
    let rows = [
        ("example.test", "EXAMPLE.test", true),
        ("Example.Test", "example.test", true),
        ("example.test", "example.test:80", false),
        ("example.test:*", "example.test:80", true),
        ("example.test", "example.test.", false),
        ("*.example.test", "www.example.test", true),
        ("*.example.test", "example.test", false),
        ("*", "", true),
    ];
    for (pattern, host, expected) in rows {
        let rule = to(Operation { hosts: texts(&[pattern]), ..Operation::default() });
        let view = view("GET", "/", &[("host", host)]);
        assert_eq!(allows(&rule, &view, None), expected, "{pattern} against {host}");
        let rule = to(Operation { hosts: no_texts(&[pattern]), ..Operation::default() });
        assert_eq!(allows(&rule, &view, None), !expected, "not {pattern} against {host}");
    }
}

#[test]
fn paths_methods_and_ports_match_as_istio_says() {
    let path_rows = [
        ("/x/*", "/x/", true),
        ("/x/*", "/x", false),
        ("/static*", "/staticfoo", true),
        ("*/secret", "/a/secret", true),
        ("/a/*/b", "/a/x/b", false),
        ("/admin", "/admin;a=b", false),
        ("/admin", "/x/..;/admin", true),
        ("/foo/{*}/baz", "/foo/bar/baz", true),
        ("/any/{**}/end", "/any//end", true),
        ("/a", "/a?b", true),
        ("*", "/", true),
    ];
    for (pattern, target, expected) in path_rows {
        let found = allows(&to_paths(&[pattern]), &view("GET", target, &[]), None);
        assert_eq!(found, expected, "{pattern} against {target}");
    }
    for (pattern, method, expected) in
        [("GET", "GET", true), ("GET", "HEAD", false), ("*", "PUT", true), ("P*", "POST", true)]
    {
        let rule = to(Operation { methods: texts(&[pattern]), ..Operation::default() });
        assert_eq!(allows(&rule, &view(method, "/", &[]), None), expected, "{pattern} {method}");
    }
    for (ports, not_ports, expected) in
        [(vec![8080], vec![], true), (vec![80], vec![], false), (vec![], vec![8080], false)]
    {
        let ports = Constraint { values: ports, not_values: not_ports };
        let rule = to(Operation { ports, ..Operation::default() });
        let spoofed = view("GET", "/", &[("host", "gw.test:80")]);
        assert_eq!(allows(&rule, &spoofed, None), expected);
    }
}

#[test]
fn fields_and_entries_combine() {
    let one = Operation { paths: paths(&["/a"]), methods: texts(&["GET"]), ..Operation::default() };
    let two = Operation { paths: paths(&["/b"]), methods: texts(&["PUT"]), ..Operation::default() };
    let mut rule = ModelRule { to: vec![one, two], ..ModelRule::default() };
    let rows =
        [("GET", "/a", true), ("PUT", "/b", true), ("PUT", "/a", false), ("GET", "/b", false)];
    for (method, target, expected) in rows {
        assert_eq!(allows(&rule, &view(method, target, &[]), None), expected, "{method} {target}");
    }
    rule.when = when(Attribute::RequestHeader("x-env".into()), texts(&["prod"])).when;
    assert!(!allows(&rule, &view("GET", "/a", &[]), None), "when counts too");
    assert!(allows(&rule, &view("GET", "/a", &[("x-env", "prod")]), None));
    let both = Constraint { values: vec![path("/a*")], not_values: vec![path("/ab*")] };
    let rule = to(Operation { paths: both, ..Operation::default() });
    for (target, expected) in [("/a", true), ("/abc", false), ("/b", false)] {
        assert_eq!(allows(&rule, &view("GET", target, &[]), None), expected, "{target}");
    }
}

#[test]
fn addresses_are_those_of_the_connection() {
    let blocks =
        |block: &str| Constraint { values: vec![Cidr::parse(block).unwrap()], not_values: vec![] };
    let forwarded =
        view("GET", "/", &[("x-forwarded-for", "192.0.2.1"), ("x-real-ip", "192.0.2.1")]);
    for (block, expected) in
        [("10.0.0.0/8", true), ("10.1.2.3", true), ("10.99.99.99/8", true), ("192.0.2.0/24", false)]
    {
        let source = Source { ip_blocks: blocks(block), ..Source::default() };
        assert_eq!(allows(&from(source), &forwarded, None), expected, "ipBlocks {block}");
        let source = Source { remote_ip_blocks: blocks(block), ..Source::default() };
        assert_eq!(allows(&from(source), &forwarded, None), expected, "remoteIpBlocks {block}");
    }
}

#[test]
fn behind_a_trusted_proxy_the_client_is_remote_and_the_proxy_the_peer() {
    let blocks =
        |block: &str| Constraint { values: vec![Cidr::parse(block).unwrap()], not_values: vec![] };
    let client = SocketAddr::from(([192, 0, 2, 1], 0));
    let source = SocketAddr::from(([198, 51, 100, 1], 0));
    let proxied = Some(Box::new(Proxied { source, client, headers: true }));
    let conn = ConnMeta { proxied, ..conn() };
    let allows = |rule: &ModelRule| {
        let engine = Engine::compile(vec![policy("p", Action::Allow, vec![rule.clone()])]);
        let view = view("GET", "/", &[]);
        match engine.consult(&view, &conn).unwrap() {
            Consultation::Vetted(vetted) => engine.decide(vetted, &view, &conn, None).is_ok(),
            Consultation::Ask(_) => panic!("nobody has to be asked"),
        }
    };
    for (block, peer, remote) in [
        ("10.0.0.0/8", true, false),
        ("192.0.2.0/24", false, true),
        // Who is in between is neither.
        ("198.51.100.0/24", false, false),
    ] {
        let source = Source { ip_blocks: blocks(block), ..Source::default() };
        assert_eq!(allows(&from(source)), peer, "ipBlocks {block}");
        let source = Source { remote_ip_blocks: blocks(block), ..Source::default() };
        assert_eq!(allows(&from(source)), remote, "remoteIpBlocks {block}");
        for (attribute, expected) in [(Attribute::SourceIp, peer), (Attribute::RemoteIp, remote)] {
            let values = ConditionValues::Ip(blocks(block));
            let condition = Condition { attribute: attribute.clone(), values };
            let rule = ModelRule { when: vec![condition], ..ModelRule::default() };
            assert_eq!(allows(&rule), expected, "{attribute:?} {block}");
        }
    }
}

#[test]
fn nobody_shows_a_certificate() {
    let root = view("GET", "/", &[("x-forwarded-client-cert", "URI=spiffe://a/ns/b/sa/c")]);
    let positive = Source { principals: texts(&["*"]), ..Source::default() };
    let negative = Source { namespaces: no_texts(&["*"]), ..Source::default() };
    assert!(!allows(&from(positive), &root, None));
    assert!(allows(&from(negative), &root, None));
    assert!(!allows(&when(Attribute::SourceNamespace, texts(&["*"])), &root, None));
    assert!(allows(&when(Attribute::SourcePrincipal, no_texts(&["*"])), &root, None));
    assert!(!allows(&when(Attribute::Sni, texts(&["*"])), &root, None));
    assert!(allows(&when(Attribute::Sni, no_texts(&["*"])), &root, None));
}

#[test]
fn headers_are_looked_at_line_by_line() {
    let condition = |name: &str, values| when(Attribute::RequestHeader(name.into()), values);
    let two = view("GET", "/p?q", &[("x-q", "a"), ("x-q", " b "), ("x-empty", ""), ("x-c", "a,b")]);
    let rows = [
        ("x-q", "a", true),
        ("x-q", "b", true),
        ("x-q", "c", false),
        ("x-q", "a,b", false),
        ("x-c", "a", false),
        ("x-empty", "*", true),
        ("x-missing", "*", false),
        ("x_q", "a", false),
        (":path", "/p?q", true),
        (":method", "GET", true),
        (":scheme", "http", true),
        (":authority", "gw.test", true),
        ("host", "GW.test", false),
        ("x-forwarded-proto", "http", true),
    ];
    for (name, value, expected) in rows {
        let positive = condition(name, texts(&[value]));
        assert_eq!(allows(&positive, &two, None), expected, "{name} {value}");
        let negative = condition(name, no_texts(&[value]));
        assert_eq!(allows(&negative, &two, None), !expected, "{name} not {value}");
    }
}

#[test]
fn only_texts_of_claims_match() {
    let list = |items: &[Claim]| Claim::List(items.to_vec());
    let nested = Claim::Object(vec![("a.b".into(), list(&[string("deep")]))]);
    let identity = identity(vec![
        ("s", string("text")),
        ("n", Claim::Number(42.0)),
        ("t", Claim::Bool(true)),
        ("z", Claim::Null),
        ("empty", string("")),
        ("line", string("a\nb")),
        ("l", list(&[string("x"), Claim::Number(1.0), list(&[string("inner")])])),
        ("scope", string("read  write\tall")),
        ("roles", string("a b")),
        ("o", nested),
        ("aud", string("api")),
        ("azp", list(&[string("client")])),
    ]);
    let claim = |names: &[&str]| Attribute::Claim(names.iter().map(|n| Arc::from(*n)).collect());
    let rows = [
        (claim(&["s"]), "text", true),
        (claim(&["S"]), "text", false),
        (claim(&["s"]), "t*", true),
        (claim(&["n"]), "42", false),
        (claim(&["n"]), "*", false),
        (claim(&["t"]), "true", false),
        (claim(&["z"]), "*", false),
        (claim(&["empty"]), "*", false),
        (claim(&["line"]), "*", false),
        (claim(&["line"]), "a*", true),
        (claim(&["l"]), "x", true),
        (claim(&["l"]), "1", false),
        (claim(&["l"]), "inner", false),
        (claim(&["scope"]), "read", true),
        (claim(&["scope"]), "write\tall", true),
        (claim(&["scope"]), "read  write\tall", false),
        (claim(&["roles"]), "a", false),
        (claim(&["roles"]), "a b", true),
        (claim(&["o"]), "*", false),
        (claim(&["o", "a.b"]), "deep", true),
        (claim(&["o", "a"]), "*", false),
        (claim(&["missing"]), "*", false),
        (Attribute::Audiences, "api", true),
        (Attribute::Presenter, "client", true),
    ];
    let root = view("GET", "/", &[]);
    for (attribute, value, expected) in rows {
        let positive = when(attribute.clone(), texts(&[value]));
        assert_eq!(allows(&positive, &root, Some(&identity)), expected, "{attribute:?} {value}");
        assert!(!allows(&positive, &root, None), "{attribute:?} of nobody");
        let negative = when(attribute.clone(), no_texts(&[value]));
        assert_eq!(allows(&negative, &root, Some(&identity)), !expected, "{attribute:?} {value}");
        assert!(allows(&negative, &root, None), "not {attribute:?} of nobody");
    }
}

/// Every rule, one after the other: what the index has to agree with.
fn search(rules: &[ModelRule], view: &RequestView) -> Option<usize> {
    let alone = |rule: &ModelRule| {
        let engine = Engine::compile(vec![policy("p", Action::Deny, vec![rule.clone()])]);
        decide(&engine, view, None).is_err()
    };
    rules.iter().position(alone)
}

#[test]
fn the_index_finds_what_a_search_through_all_rules_finds() {
    const PATHS: [&str; 12] =
        ["/", "/a", "/a/b", "/a*", "/a/*", "*b", "*/b", "/{*}/b", "/a/{**}/c", "/{**}", "*", "/ab"];
    const HOSTS: [&str; 6] = ["a.test", "*.test", "a*", "*", "b.test", "A.Test"];
    let mut state = 7_u64;
    let mut pick = |most: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 40).unwrap() % most
    };
    for _ in 0..300 {
        let rules: Vec<ModelRule> = (0..6)
            .map(|_| {
                let mut operation = Operation::default();
                for _ in 0..pick(3) {
                    operation.paths.values.push(path(PATHS[pick(PATHS.len())]));
                }
                for _ in 0..pick(3) {
                    operation.hosts.values.push(Pattern::parse(HOSTS[pick(HOSTS.len())]));
                }
                if pick(3) == 0 {
                    operation.paths.not_values.push(path(PATHS[pick(PATHS.len())]));
                }
                if pick(3) == 0 {
                    operation.methods = texts(&["GET"]);
                }
                to(operation)
            })
            .collect();
        let engine = Engine::compile(vec![policy("p", Action::Deny, rules.clone())]);
        for (host, target) in
            [("a.test", "/a"), ("B.test", "/a/b"), ("c", "/"), ("x.test", "/a/x/c"), ("ab", "/ab")]
        {
            let view = view(if pick(2) == 0 { "GET" } else { "PUT" }, target, &[("host", host)]);
            let decision = decide(&engine, &view, None);
            let found = decision.err().and_then(|denial| denial.decided_by).map(|by| by.rule);
            assert_eq!(found, search(&rules, &view), "{host}{target}: {rules:?}");
        }
    }
}

fn provider(name: &str, fail_open: bool) -> Arc<Provider> {
    let object =
        |kind, name: &str| ObjectRef { kind, namespace: "default".into(), name: name.into() };
    Arc::new(Provider {
        object: object("ExtAuthzProvider", name),
        upstream: Arc::new(Upstream {
            service: object("Service", name),
            port: 80,
            protocol: UpstreamProtocol::Http1,
            endpoints: Vec::new(),
        }),
        authority: name.into(),
        timeout: Duration::from_secs(1),
        fail_open,
        status_on_error: StatusCode::FORBIDDEN,
        body: None,
        check: Check::Grpc,
        tally: Arc::default(),
    })
}

/// A CUSTOM policy for paths below `/PREFIX`.
fn custom(name: &str, prefix: &str, provider: Option<&Arc<Provider>>) -> Policy {
    let rules =
        vec![to_paths(&[&format!("/nowhere/{prefix}")]), to_paths(&[&format!("/{prefix}*")])];
    Policy { provider: provider.cloned(), ..policy(name, Action::Custom, rules) }
}

/// Answers in turn, and whom they were asked; then the decision.
fn ask(engine: &Engine, target: &str, answers: &[Answer]) -> (Vec<String>, Result<(), Reason>) {
    let view = view("GET", target, &[]);
    let mut asked = Vec::new();
    let mut answers = answers.iter();
    let mut outcome = engine.consult(&view, &conn());
    loop {
        match outcome {
            Err(denial) => return (asked, Err(denial.reason)),
            Ok(Consultation::Ask(pending)) => {
                let by = pending.asked_by();
                let rule = format!(
                    "{} for {}/{}",
                    pending.provider().object.name,
                    by.policy.name,
                    by.rule
                );
                asked.push(rule);
                outcome = pending.answered(*answers.next().expect("another answer")).0;
            }
            Ok(Consultation::Vetted(vetted)) => {
                let decision = engine.decide(vetted, &view, &conn(), None);
                return (asked, decision.map(drop).map_err(|denial| denial.reason));
            }
        }
    }
}

/// Target, answers, who is asked for which rule, decision.
type Row<'r> = (&'r str, &'r [Answer], &'r [&'r str], Result<(), Reason>);

#[test]
fn custom_comes_first_and_every_provider_has_to_allow() {
    use Answer::{Allowed, Denied, Failed};
    let (a, b, open) = (provider("a", false), provider("b", false), provider("open", true));
    let engine = Engine::compile(vec![
        policy("deny", Action::Deny, vec![to_paths(&["/a/denied"])]),
        policy("allow", Action::Allow, vec![to_paths(&["/a*", "/open*", "/nobody", "/free"])]),
        custom("one", "a", Some(&a)),
        custom("two", "a/b", Some(&b)),
        custom("again", "a/b", Some(&a)),
        custom("open", "open", Some(&open)),
        custom("broken", "nobody", None),
        Policy { dry_run: true, ..custom("dry", "free", None) },
    ]);
    let denied = Err(Reason::ExtAuthzDenied);
    let error = Err(Reason::ExtAuthzError);
    let rows: [Row<'_>; 12] = [
        ("/free", &[], &[], Ok(())),
        ("/other", &[], &[], Err(Reason::PolicyNotAllowed)),
        ("/a", &[Allowed], &["a for one/1"], Ok(())),
        ("/a", &[Denied], &["a for one/1"], denied),
        ("/a", &[Failed], &["a for one/1"], error),
        ("/a/denied", &[Allowed], &["a for one/1"], Err(Reason::PolicyDenied)),
        ("/a/denied", &[Denied], &["a for one/1"], denied),
        ("/a/b", &[Allowed, Allowed], &["a for one/1", "b for two/1"], Ok(())),
        ("/a/b", &[Allowed, Denied], &["a for one/1", "b for two/1"], denied),
        ("/a/b", &[Denied], &["a for one/1"], denied),
        ("/open", &[Failed], &["open for open/1"], Ok(())),
        ("/nobody", &[], &[], error),
    ];
    for (at, (target, answers, asked, decision)) in rows.into_iter().enumerate() {
        let expected = (asked.iter().map(ToString::to_string).collect(), decision);
        assert_eq!(ask(&engine, target, answers), expected, "row {at}: {target}");
    }
    let shadow = engine.shadow(&view("GET", "/free", &[]), &conn(), None);
    let shadow: Vec<_> = shadow.iter().map(|m| (m.action, &*m.matched.policy.name)).collect();
    assert_eq!(shadow, [(Action::Custom, "dry")]);
}

#[test]
fn an_answer_has_its_word() {
    let pending = |fail_open| {
        let provider = provider("p", fail_open);
        let engine = Engine::compile(vec![custom("c", "", Some(&provider))]);
        match engine.consult(&view("GET", "/", &[]), &conn()) {
            Ok(Consultation::Ask(pending)) => pending,
            other => panic!("{other:?}"),
        }
    };
    for (answer, fail_open, passes, word) in [
        (Answer::Allowed, false, true, "allowed"),
        (Answer::Denied, false, false, "denied"),
        (Answer::Denied, true, false, "denied"),
        (Answer::Failed, false, false, "error"),
        (Answer::Failed, true, true, "failure_mode_allowed"),
    ] {
        let (next, outcome) = pending(fail_open).answered(answer);
        assert_eq!((next.is_ok(), outcome.word()), (passes, word), "{answer:?} {fail_open}");
    }
}

#[test]
fn a_denial_for_want_of_a_scope_says_so() {
    let scope = |name: &str, texts| when(Attribute::Claim(vec![name.into()]), texts).when;
    let with = |paths: &[&str], when| ModelRule { when, ..to_paths(paths) };
    let both = [scope("scope", texts(&["a*", "a b", "read"])), scope("scp", texts(&["write"]))];
    let mut elsewhere = to_paths(&["/elsewhere"]);
    elsewhere.when = scope("scope", texts(&["elsewhere"]));
    elsewhere.from =
        vec![Source { request_principals: principals("*/nobody"), ..Source::default() }];
    let engine = Engine::compile(vec![
        policy(
            "deny",
            Action::Deny,
            vec![
                with(&["/admin"], scope("scope", no_texts(&["admin"]))),
                with(&["/closed"], scope("group", no_texts(&["staff"]))),
            ],
        ),
        policy(
            "allow",
            Action::Allow,
            vec![
                with(&["/both"], both.concat()),
                with(&["/pattern*"], scope("scope", texts(&["orders:*"]))),
                with(&["/group"], scope("group", texts(&["staff"]))),
                with(
                    &["/nested"],
                    when(Attribute::Claim(vec!["scope".into(), "x".into()]), texts(&["y"])).when,
                ),
                with(&["/first*"], scope("scp", texts(&["one"]))),
                with(&["/first"], scope("scp", texts(&["two"]))),
                elsewhere,
            ],
        ),
    ]);
    let bare = identity(vec![]);
    let half = identity(vec![("scope", string("read more"))]);
    let rows: [(&str, &Identity, Option<&[&str]>); 11] = [
        ("/admin", &bare, Some(&["admin"])),
        ("/closed", &bare, None),
        ("/both", &bare, Some(&["read", "write"])),
        ("/both", &half, Some(&["write"])),
        ("/pattern/x", &bare, Some(&[])),
        ("/group", &bare, None),
        ("/nested", &bare, None),
        ("/first", &bare, Some(&["one"])),
        ("/elsewhere", &bare, None),
        ("/unknown", &bare, None),
        ("/both?x", &half, Some(&["write"])),
    ];
    for (target, identity, expected) in rows {
        let view = view("GET", target, &[]);
        let denial = decide(&engine, &view, Some(identity)).unwrap_err();
        let missing = engine.missing_scope(&denial, &view, &conn(), identity);
        let scopes = missing.as_ref().map(|missing| missing.0.iter().map(|s| &**s).collect());
        assert_eq!(scopes, expected.map(<[&str]>::to_vec), "{target}");
    }
}
