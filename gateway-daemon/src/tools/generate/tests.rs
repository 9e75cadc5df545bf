//! Generated manifests against the expected text, and bad words against their complaints.

use std::io::Cursor;

use super::*;
use crate::cli::generate::MatchWord;

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|&word| word.to_owned()).collect()
}

fn arguments() -> JwtArgs {
    JwtArgs {
        issuer: Some("testing@secure.istio.io".to_owned()),
        jwks: Some(r#"{"keys":[]}"#.to_owned()),
        ..JwtArgs::default()
    }
}

fn generated(arguments: &JwtArgs) -> Result<String, GenerateError> {
    jwt(arguments, &mut Cursor::new(""), &mut Vec::new())
}

const HEAD: &str = "apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata:
  name: jwt
  namespace: default
spec:
  jwtRules:
  - issuer: testing@secure.istio.io
    jwks: '{\"keys\":[]}'
";

const POLICY: &str = "---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: jwt
  namespace: default
spec:
  action: DENY
  rules:
  - from:
    - source:
        notRequestPrincipals:
        - '*'
";

#[test]
fn rules_become_operations() {
    let auth = MatchWord::AuthIfMatched;
    let bypass = MatchWord::BypassAuthIfMatched;
    let rows: [(&str, MatchWord, &[&str], &str); 6] = [
        ("every request", auth, &[], ""),
        ("nothing bypassed", bypass, &[], ""),
        (
            "one path",
            auth,
            &["path=/a method=GET"],
            "    to:
    - operation:
        paths:
        - /a
        methods:
        - GET
",
        ),
        (
            "bypass by paths alone is one operation",
            bypass,
            &["path=/login path=/static*", "path=*.ico"],
            "    to:
    - operation:
        notPaths:
        - /login
        - '/static*'
        - '*.ico'
",
        ),
        (
            "bypass by path and method: either may not fit",
            bypass,
            &["path=/a method=GET"],
            "    to:
    - operation:
        notPaths:
        - /a
    - operation:
        notMethods:
        - GET
",
        ),
        (
            "a host with any port",
            auth,
            &["host=a.test"],
            "    to:
    - operation:
        hosts:
        - a.test
        - 'a.test:*'
",
        ),
    ];
    for (name, mode, rules, expected) in rows {
        let arguments = JwtArgs { mode: Some(mode), rule: words(rules), ..arguments() };
        let text = generated(&arguments).unwrap();
        assert_eq!(text, format!("{HEAD}{POLICY}{expected}"), "{name}");
    }
}

#[test]
fn the_token_form_is_written_out() {
    let arguments = JwtArgs {
        gateway: Some("ingress".to_owned()),
        audience: words(&["https://a.test/"]),
        from_header: words(&["X-Token=JWT ", "x-plain"]),
        from_param: words(&["token"]),
        passthrough: true,
        payload_header: Some("x-payload".to_owned()),
        claim_header: words(&["a.b=x-claim"]),
        ..arguments()
    };
    let text = generated(&arguments).unwrap();
    let expected = "  targetRefs:
  - group: gateway.networking.k8s.io
    kind: Gateway
    name: ingress
  jwtRules:
  - issuer: testing@secure.istio.io
    jwks: '{\"keys\":[]}'
    audiences:
    - 'https://a.test/'
    fromHeaders:
    - name: X-Token
      prefix: 'JWT '
    - name: x-plain
    fromParams:
    - token
    forwardOriginalToken: true
    outputPayloadToHeader: x-payload
    outputClaimToHeaders:
    - claim: a.b
      header: x-claim
";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn bad_words_are_named() {
    let rule = |text: &str| JwtArgs { rule: words(&[text]), ..arguments() };
    let keys = |text: &str| JwtArgs { jwks: Some(text.to_owned()), ..arguments() };
    let rows = [
        ("no issuer", JwtArgs { issuer: None, ..arguments() }, "--issuer"),
        ("no keys", JwtArgs { jwks: None, ..arguments() }, "--jwks-uri"),
        ("keys of no kind", keys("[]"), "JWK set"),
        ("a private key", keys(r#"{"keys":[{"kty":"RSA","d":"x"}]}"#), "private"),
        ("a bad name", JwtArgs { name: Some("A b".to_owned()), ..arguments() }, "--name"),
        ("a relative path", rule("path=a"), "slash"),
        ("an unknown word", rule("paths=/a"), "path=/a*"),
        ("an empty rule", rule(" "), "at least"),
        (
            "a bad header",
            JwtArgs { claim_header: words(&["a=b c"]), ..arguments() },
            "--claim-header",
        ),
        (
            "too many kinds",
            JwtArgs {
                mode: Some(MatchWord::BypassAuthIfMatched),
                rule: (0..9).map(|n| format!("path=/{n} method=M{n} host=h{n}")).collect(),
                ..arguments()
            },
            "nobody can read",
        ),
    ];
    for (name, arguments, complaint) in rows {
        let error = generated(&arguments).unwrap_err().to_string();
        assert!(error.contains(complaint), "{name}: {error}");
    }
}

#[test]
fn without_arguments_it_asks() {
    let answers = "

ingress

testing@secure.istio.io
9
1
nonsense
1
{\"keys\":[]}
2
X-Token
JWT
y
x-payload
a.b=x-claim

2
login
path=/login

";
    let mut questions = Vec::new();
    let text = jwt(&JwtArgs::default(), &mut Cursor::new(answers), &mut questions).unwrap();
    for wanted in [
        "name: ingress",
        "prefix: 'JWT '",
        "forwardOriginalToken: true",
        "outputPayloadToHeader: x-payload",
        "- claim: a.b",
        "notPaths:\n        - /login\n",
    ] {
        assert!(text.contains(wanted), "no {wanted:?} in\n{text}");
    }
    let questions = String::from_utf8(questions).unwrap();
    assert!(questions.contains("type a number from 1 to 3"), "{questions}");
    assert!(questions.contains("this is no JWK set"), "{questions}");
    let error = jwt(&JwtArgs::default(), &mut Cursor::new("a\n"), &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("--help"), "{error}");
}
