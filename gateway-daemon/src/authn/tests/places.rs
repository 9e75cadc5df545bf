//! Where tokens are found, whose they are, and what is left of them.

use std::sync::Arc;

use http::HeaderName;

use super::mint::{NOW, compile, jwk, jwks, rule, subject, token, view};
use crate::authn::{Authenticator, TokenCache};
use crate::model::jwt::{ClaimToHeader, JwtRule, TokenHeader, TokenPlaces};
use crate::request::RequestView;

fn keys() -> String {
    jwks(&[jwk("HS256", "")])
}

fn of(issuer: &str, subject: &str) -> String {
    token("HS256", &format!(r#"{{"iss":"https://{issuer}.test","sub":"{subject}"}}"#))
}

fn rule_of(issuer: &str) -> JwtRule {
    JwtRule { issuer: format!("https://{issuer}.test").into(), ..rule(&keys()) }
}

fn header(name: &'static str, prefix: &str) -> TokenHeader {
    TokenHeader { name: HeaderName::from_static(name), prefix: prefix.into() }
}

fn run(authenticator: &Authenticator, view: &mut RequestView) -> Result<Option<String>, String> {
    let shown = authenticator.authenticate(view, NOW, &mut TokenCache::default());
    shown.map(|a| subject(&a).map(str::to_owned)).map_err(|refusal| refusal.text.to_owned())
}

const FORM: &str =
    "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections";

#[test]
fn what_is_no_token_passes_untouched() {
    let authenticator = compile(vec![rule_of("a")]);
    let alice = of("a", "alice");
    let values = [
        "Basic eA==".to_owned(),
        format!("bearer {alice}"),
        alice.clone(),
        format!("Bearer\t{alice}"),
        format!("Bearer{alice}"),
        "Bearer".to_owned(),
        format!("DPoP {alice}"),
    ];
    for value in values {
        let mut view = view("/", &[("authorization", &value)]);
        assert_eq!(run(&authenticator, &mut view), Ok(None), "{value}");
        assert_eq!(view.headers()["authorization"], value);
    }
}

#[test]
fn the_prefix_is_found_anywhere_and_the_rest_is_the_token() {
    let authenticator = compile(vec![rule_of("a")]);
    let alice = of("a", "alice");
    for value in [
        format!("Basic x, Bearer {alice}"),
        format!("Bearer   {alice}"),
        format!("Bearer ,={alice}"),
    ] {
        let mut view = view("/", &[("authorization", &value)]);
        assert_eq!(run(&authenticator, &mut view), Ok(Some("alice".to_owned())), "{value}");
        assert!(!view.headers().contains_key("authorization"), "removed whole");
    }
    let mut twice = view(
        "/",
        &[
            ("authorization", &format!("Bearer {alice}")),
            ("authorization", &format!("Bearer {alice}")),
        ],
    );
    assert_eq!(run(&authenticator, &mut twice), Err(FORM.to_owned()), "two Authorization lines");
    for (value, text) in [
        ("Bearer \"TOKEN\"", "Jwt signature is an invalid Base64url encoded"),
        ("Bearer TOKEN;x", "Jwt signature is an invalid Base64url encoded"),
        ("Bearer TOKEN x", "Jwt verification fails"),
        ("Bearer !!", FORM),
    ] {
        let mut view = view("/", &[("authorization", &value.replace("TOKEN", &alice))]);
        assert_eq!(run(&authenticator, &mut view), Err(text.to_owned()), "{value}");
    }
}

#[test]
fn places_are_read_in_order_and_every_token_counts() {
    let mut everywhere = rule_of("a");
    everywhere.places = TokenPlaces {
        headers: vec![header("x-z", ""), header("x-b", "v1:")],
        params: vec!["tok".into()],
        cookies: vec!["sid".into()],
    };
    let authenticator = compile(vec![everywhere]);
    let (alice, bob, carol, dave) =
        (of("a", "alice"), of("a", "bob"), of("a", "carol"), of("a", "dave"));
    let headers = [
        ("x-z", bob.as_str()),
        ("x-b", &format!("v1:{alice}")),
        ("cookie", &format!("Sid=x; sid=\"{dave}\"; sid=y")),
    ];
    let target = format!("/p?a=1&tok={carol}&b=%20");
    let mut all = view(&target, &headers);
    assert_eq!(run(&authenticator, &mut all), Ok(Some("alice".to_owned())));
    assert_eq!(all.path_and_query().as_str(), "/p?a=1&b=%20");
    let left: Vec<_> = all.headers().keys().map(HeaderName::as_str).collect();
    assert_eq!(left, ["host", "cookie"], "cookies stay");

    let mut bad = view("/?tok=", &headers);
    assert_eq!(run(&authenticator, &mut bad), Err(FORM.to_owned()), "an empty parameter");
    let mut default = view("/", &[("authorization", &format!("Bearer {alice}"))]);
    assert_eq!(run(&authenticator, &mut default), Ok(None), "the default places are off");
}

#[test]
fn blanks_around_a_value_are_no_part_of_a_token() {
    let places = TokenPlaces {
        headers: vec![header("x-token", ""), header("authorization", "Bearer ")],
        ..TokenPlaces::default()
    };
    let authenticator = compile(vec![JwtRule { places, ..rule_of("a") }]);
    let alice = of("a", "alice");
    let good = || Ok(Some("alice".to_owned()));
    // Such values come over HTTP/2 only: over HTTP/1.1 blanks around a value belong to the line.
    for (name, value, expected) in [
        ("x-token", alice.clone(), good()),
        ("x-token", format!(" {alice}"), Err(())),
        ("x-token", format!("\t{alice}"), Err(())),
        ("x-token", format!("{alice} "), Err(())),
        ("authorization", format!(" Bearer {alice}"), good()),
        ("authorization", format!("Bearer {alice} "), good()),
    ] {
        let mut view = view("/", &[(name, &value)]);
        assert_eq!(run(&authenticator, &mut view).map_err(drop), expected, "{name}: {value:?}");
    }
}

#[test]
fn a_cookie_is_read_to_the_letter() {
    let mut cookies = rule_of("a");
    cookies.places.cookies = vec!["sid".into()];
    let authenticator = compile(vec![cookies]);
    let alice = of("a", "alice");
    let rows = [
        ("a=1;  sid=TOKEN", Ok(Some("alice"))),
        ("sid=\"TOKEN\"; b", Ok(Some("alice"))),
        ("SID=x; sid; sid=TOKEN; sid=x", Ok(Some("alice"))),
        ("sid = TOKEN", Ok(None)),
        ("a=1,sid=TOKEN", Ok(None)),
        ("a=1;\tsid=TOKEN", Ok(None)),
        ("sid= TOKEN", Err("Jwt verification fails")),
        ("sid=TOKEN ; a=1", Err("Jwt verification fails")),
        ("sid=\"TOKEN", Err("Jwt header is an invalid Base64url encoded")),
        ("sid=", Err(FORM)),
    ];
    for (value, expected) in rows {
        let mut view = view("/", &[("cookie", &value.replace("TOKEN", &alice))]);
        let expected = expected.map(|s| s.map(str::to_owned)).map_err(str::to_owned);
        assert_eq!(run(&authenticator, &mut view), expected, "{value}");
    }
}

#[test]
fn a_forwarded_token_stays_where_it_was() {
    let mut forwarding = rule_of("a");
    forwarding.forward_original_token = true;
    let authenticator = compile(vec![forwarding]);
    let alice = of("a", "alice");
    let target = format!("/?access_token={alice}");
    let mut view = view(&target, &[("authorization", &format!("Bearer {alice}"))]);
    assert_eq!(run(&authenticator, &mut view), Ok(Some("alice".to_owned())));
    assert_eq!(view.path_and_query().as_str(), target);
    assert!(view.headers().contains_key("authorization"));
}

#[test]
fn of_several_rules_the_first_satisfied_one_counts() {
    type Row<'r> = (&'r str, &'r str, Result<Option<&'r str>, &'r str>, &'r [&'r str]);
    let place = |issuer: &str, name: &'static str| {
        let mut rule = rule_of(issuer);
        rule.places.headers = vec![header(name, "")];
        rule
    };
    let authenticator = compile(vec![place("b", "x-b"), place("a", "x-a")]);
    let (alice, bob) = (of("a", "alice"), of("b", "bob"));
    let expired = token("HS256", r#"{"iss":"https://a.test","sub":"alice","exp":1}"#);
    let rows: [Row<'_>; 5] = [
        (&alice, &bob, Ok(Some("alice")), &["host", "x-b"]),
        (&alice, "junk", Ok(Some("alice")), &["host", "x-b"]),
        (&expired, &bob, Ok(Some("bob")), &["host", "x-a"]),
        (&expired, "junk", Err("Jwt is expired"), &["host", "x-a", "x-b"]),
        (&bob, &alice, Err("Jwt issuer is not configured"), &["host", "x-a", "x-b"]),
    ];
    for (a, b, expected, left) in rows {
        let mut view = view("/", &[("x-a", a), ("x-b", b)]);
        let expected = expected.map(|s| s.map(str::to_owned)).map_err(str::to_owned);
        assert_eq!(run(&authenticator, &mut view), expected);
        let names: Vec<_> = view.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, left);
    }
}

#[test]
fn in_shared_places_each_token_is_judged_by_its_own_issuer() {
    let authenticator = compile(vec![rule_of("a"), rule_of("b")]);
    let (alice, bob) = (of("a", "alice"), of("b", "bob"));
    let run = |bearer: &str, param: &str| {
        let target = format!("/?access_token={param}");
        run(&authenticator, &mut view(&target, &[("authorization", &format!("Bearer {bearer}"))]))
    };
    assert_eq!(run(&alice, &bob), Ok(Some("alice".to_owned())));
    assert_eq!(run(&bob, &alice), Ok(Some("bob".to_owned())));
    let expired = token("HS256", r#"{"iss":"https://a.test","sub":"alice","exp":1}"#);
    assert_eq!(run(&expired, &bob), Err("Jwt is expired".to_owned()));
    assert_eq!(run(&bob, &expired), Err("Jwt is expired".to_owned()));
    assert_eq!(run(&alice, &of("c", "x")), Err("Jwt issuer is not configured".to_owned()));
}

#[test]
fn a_token_that_stays_counts_for_every_rule_that_reads_it() {
    let forwarding = |issuer: &str| JwtRule { forward_original_token: true, ..rule_of(issuer) };
    let target = format!("/?access_token={}", of("b", "bob"));
    let bearer = format!("Bearer {}", of("a", "alice"));
    let run = |rules: Vec<JwtRule>| {
        let mut view = view(&target, &[("authorization", &bearer)]);
        let verdict = run(&compile(rules), &mut view);
        verdict.map(|subject| (subject.unwrap(), view.path_and_query().to_string()))
    };
    let unknown = || Err("Jwt issuer is not configured".to_owned());
    assert_eq!(run(vec![rule_of("a"), rule_of("b")]), Ok(("alice".to_owned(), "/".to_owned())));
    assert_eq!(run(vec![forwarding("a"), rule_of("b")]), unknown());
    assert_eq!(run(vec![rule_of("a"), forwarding("b")]), unknown());
    assert_eq!(run(vec![forwarding("a"), forwarding("b")]), unknown());
}

#[test]
fn a_good_line_takes_no_bad_one_with_it() {
    let mut own = rule_of("a");
    own.places.headers = vec![header("x-a", "")];
    let authenticator = compile(vec![own, rule_of("b")]);
    let expired = token("HS256", r#"{"iss":"https://a.test","sub":"alice","exp":1}"#);
    let alice = of("a", "alice");
    for lines in [[&alice, &expired], [&expired, &alice]] {
        let mut view = view("/", &lines.map(|line| ("x-a", line.as_str())));
        assert_eq!(run(&authenticator, &mut view), Err("Jwt is expired".to_owned()));
    }
}

#[test]
fn a_line_is_a_token_of_each_place_that_reads_it() {
    let mut own = rule_of("a");
    own.places.headers = vec![header("x-a", ""), header("x-a", "v1:")];
    let line = format!("v1:{}", of("a", "alice"));
    for rules in [vec![own.clone()], vec![own, rule_of("b")]] {
        let mut view = view("/", &[("x-a", &line)]);
        let whole = "Jwt header is an invalid Base64url encoded";
        assert_eq!(run(&compile(rules), &mut view), Err(whole.to_owned()));
    }
}

/// Of several refusals the last rule's is told, for what it is worth.
#[test]
fn the_last_refusal_is_told_unless_it_is_about_the_issuer() {
    let place = |issuer: &str, name: &'static str| {
        let mut rule = rule_of(issuer);
        rule.places.headers = vec![header(name, "")];
        rule
    };
    let authenticator = compile(vec![place("a", "x-a"), place("b", "x-b"), place("c", "x-c")]);
    let expired =
        |issuer: &str| token("HS256", &format!(r#"{{"iss":"https://{issuer}.test","exp":1}}"#));
    let odd = token("HS256", r#"{"iss":"https://b.test","sub":1}"#);
    let (unknown, sub) =
        ("Jwt issuer is not configured", "Jwt payload [sub] field is not a string");
    let rows = [
        // What fails first in the second round is told: the first rule's, if it says anything.
        (expired("a"), odd.clone(), "junk".to_owned(), "Jwt is expired"),
        (of("z", "x"), odd.clone(), "junk".to_owned(), FORM),
        (of("z", "x"), odd, of("z", "y"), sub),
        (of("z", "x"), of("z", "y"), of("a", "x"), unknown),
    ];
    for (a, b, c, text) in rows {
        let mut view = view("/", &[("x-a", &a), ("x-b", &b), ("x-c", &c)]);
        assert_eq!(run(&authenticator, &mut view), Err(text.to_owned()));
    }
}

#[test]
fn two_rules_of_one_issuer_each_may_accept() {
    let with = |audience: &str| JwtRule { audiences: vec![audience.into()], ..rule_of("a") };
    let authenticator = compile(vec![with("https://api.test/"), with("web")]);
    let of = |aud: &str| {
        let claims = format!(r#"{{"iss":"https://a.test","sub":"alice","aud":{aud}}}"#);
        let bearer = format!("Bearer {}", token("HS256", &claims));
        run(&authenticator, &mut view("/", &[("authorization", &bearer)]))
    };
    for aud in [r#""web""#, r#""http://api.test""#, r#"["x","api.test/"]"#] {
        assert_eq!(of(aud), Ok(Some("alice".to_owned())), "{aud}");
    }
    for aud in [r#""WEB""#, r#""web x""#, "[]", r#""api.test//""#] {
        assert_eq!(of(aud), Err("Audiences in Jwt are not allowed".to_owned()), "{aud}");
    }
}

#[test]
fn output_headers_are_the_gateways_own_words() {
    let mut telling = rule_of("a");
    telling.output_payload_to_header = Some(HeaderName::from_static("x-payload"));
    let claim = |header, claim: &str| ClaimToHeader {
        header: HeaderName::from_static(header),
        claim: Arc::from(claim),
    };
    telling.output_claim_to_headers = vec![claim("x-sub", "sub"), claim("x-deep", "a.b")];
    let mut silent = rule_of("b");
    silent.output_claim_to_headers = vec![claim("x-b_only", "sub")];
    let authenticator = compile(vec![telling, silent]);
    let spoofs = [
        ("x-payload", "spoof"),
        ("x_payload", "spoof"),
        ("x-sub", "spoof"),
        ("x.sub", "spoof"),
        ("X-Deep", "spoof"),
        ("x-b-only", "spoof"),
        ("x-other", "kept"),
    ];
    let alice = token("HS256", r#"{"iss":"https://a.test","sub":"alice","a":{"b":1.5}}"#);
    let bearer = format!("Bearer {alice}");
    let left = |more: &[(&str, &str)], target: &str| {
        let mut view = view(target, &[&spoofs[..], more].concat());
        run(&authenticator, &mut view).unwrap();
        let text = |(name, value): (&HeaderName, &http::HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        view.headers().iter().skip(1).map(text).collect::<Vec<_>>()
    };
    let payload = alice.split('.').nth(1).unwrap();
    let told = left(&[("authorization", &bearer)], "/");
    let expected =
        [&format!("x-payload: {payload}"), "x-sub: alice", "x-deep: 1.500000", "x-other: kept"];
    assert!(expected.iter().all(|line| told.contains(&(*line).to_owned())), "{told:?}");
    assert_eq!(told.len(), expected.len());
    for (name, headers) in [
        ("no token", &[][..]),
        ("another scheme", &[("authorization", "Basic x")][..]),
        ("nominated by Connection", &[("connection", "x-sub")][..]),
    ] {
        let told = left(headers, "/");
        let kept = told.iter().all(|l| l == "x-other: kept" || l == "authorization: Basic x");
        assert!(kept, "{name}: {told:?}");
    }
    let mut nominated =
        view("/", &[("connection", "x-sub, x-payload"), ("authorization", &bearer)]);
    run(&authenticator, &mut nominated).unwrap();
    assert_eq!(nominated.headers()["x-sub"], "alice", "written after Connection was obeyed");
}
