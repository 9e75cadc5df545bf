//! Tokens that somebody made to be believed. A row per trick; the name says which.

use super::mint::{
    CLAIMS, ISSUER, base64, compile, jwk, jwks, mac, refusal, rsa_der, rsa_numbers, rule, show,
    sign, subject, token, token_by,
};
use crate::model::jwt::KeySource;
use crate::model::reason::Reason;

const FORM: &str =
    "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections";
const FAILS: &str = "Jwt verification fails";
const NO_KEY: &str = "Jwks doesn't have key to match kid or alg from Jwt";
const UNSUPPORTED: &str = "Jwt header [alg] is not supported";

#[test]
fn every_algorithm_is_accepted_by_its_own_key_only() {
    const ALL: [&str; 7] = ["RS256", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256"];
    let family = |algorithm: &str| match algorithm {
        "RS256" | "PS512" => "RSA".to_owned(),
        other => other.to_owned(),
    };
    for key in ALL {
        let authenticator = compile(vec![rule(&jwks(&[jwk(key, "")]))]);
        for algorithm in ALL {
            let accepted = refusal(&authenticator, &token(algorithm, CLAIMS)).is_none();
            let expected = family(key) == family(algorithm);
            assert_eq!(accepted, expected, "{algorithm} by a key for {key}");
        }
    }
}

/// Envoy lets the key decide where the token names an algorithm of another kind.
#[test]
fn a_key_judges_by_the_algorithm_that_the_token_names() {
    for key in ["RS256", "ES256", "EdDSA", "HS256"] {
        let authenticator = compile(vec![rule(&jwks(&[jwk(key, "")]))]);
        for named in ["RS256", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS512"] {
            let header = format!(r#"{{"alg":"{named}"}}"#);
            let token = token_by(&header, CLAIMS, |message| sign(key, message));
            let accepted = refusal(&authenticator, &token).is_none();
            assert_eq!(accepted, named == key, "{named} in a token of {key}");
        }
    }
}

#[test]
fn unsigned_tokens_are_refused_in_every_spelling() {
    let authenticator = compile(vec![rule(&jwks(&[jwk("RS256", "")]))]);
    for name in ["none", "None", "NONE", "nOnE", "", "rs256", "HS2561", "ES256K", "RSA1_5"] {
        let header = format!(r#"{{"alg":"{name}"}}"#);
        let empty = token_by(&header, CLAIMS, |_| Vec::new());
        assert_eq!(refusal(&authenticator, &empty), Some(FORM), "{name:?} without a signature");
        let signed = token_by(&header, CLAIMS, |message| sign("RS256", message));
        assert_eq!(refusal(&authenticator, &signed), Some(UNSUPPORTED), "{name:?}");
    }
    for (header, why) in [
        (r"{}", "no alg"),
        (r#"{"alg":null}"#, "null"),
        (r#"{"alg":["RS256"]}"#, "list"),
        (r#"{"ALG":"RS256"}"#, "upper case"),
    ] {
        let token = token_by(header, CLAIMS, |message| sign("RS256", message));
        let text = "Jwt header [alg] field is required and must be a string";
        assert_eq!(refusal(&authenticator, &token), Some(text), "{why}");
    }
}

#[test]
fn a_public_key_is_never_a_secret() {
    let authenticator = compile(vec![rule(&jwks(&[jwk("RS256", "")]))]);
    let (modulus, _) = rsa_numbers();
    let der = rsa_der();
    let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &der);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(|l| str::from_utf8(l).unwrap()).collect();
    let pem =
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"));
    let (text, encoded) = (jwk("RS256", ""), base64(&modulus));
    let secrets: [(&str, &[u8]); 7] = [
        ("PEM", pem.as_bytes()),
        ("PEM without its last line feed", pem.trim_end().as_bytes()),
        ("DER", &der),
        ("modulus", &modulus),
        ("modulus in base64url", encoded.as_bytes()),
        ("JWK", text.as_bytes()),
        ("empty key", b""),
    ];
    for (name, secret) in secrets {
        let forged = token_by(r#"{"alg":"HS256"}"#, CLAIMS, |message| mac(secret, message));
        assert_eq!(refusal(&authenticator, &forged), Some(FAILS), "{name}");
    }
}

#[test]
fn header_members_bring_no_key() {
    let authenticator = compile(vec![rule(&jwks(&[jwk("RS256", r#","kid":"k""#)]))]);
    let own = jwk("ES256", "");
    let x5c = base64(rsa_der());
    let rows = [
        ("jwk", format!(r#"{{"alg":"ES256","jwk":{own}}}"#)),
        ("jku", r#"{"alg":"ES256","jku":"https://evil.test/jwks"}"#.to_owned()),
        ("x5u", r#"{"alg":"ES256","x5u":"https://evil.test/c.pem"}"#.to_owned()),
        ("x5c", format!(r#"{{"alg":"ES256","x5c":["{x5c}"]}}"#)),
    ];
    for (name, header) in rows {
        let forged = token_by(&header, CLAIMS, |message| sign("ES256", message));
        assert_eq!(refusal(&authenticator, &forged), Some(FAILS), "{name}");
    }
}

#[test]
fn a_key_id_is_a_name_and_nothing_else() {
    let authenticator = compile(vec![rule(&jwks(&[jwk("HS256", r#","kid":"k""#)]))]);
    let with = |kid: &str| {
        let header = format!(r#"{{"alg":"HS256","kid":{kid}}}"#);
        token_by(&header, CLAIMS, |message| sign("HS256", message))
    };
    for kid in ["../../dev/null", "k' OR '1'='1", "/dev/null", "k\\u0000", "K", "k "] {
        let token = with(&format!("\"{kid}\""));
        assert_eq!(refusal(&authenticator, &token), Some(NO_KEY), "{kid}");
    }
    for kid in ["\"k\"", "\"\""] {
        assert_eq!(refusal(&authenticator, &with(kid)), None, "{kid}");
    }
    for kid in ["1", "null", "[\"k\"]", "{}"] {
        let text = "Jwt header [kid] field is not a string";
        assert_eq!(refusal(&authenticator, &with(kid)), Some(text), "{kid}");
    }
}

#[test]
fn critical_extensions_are_ignored_as_envoy_ignores_them() {
    let authenticator = compile(vec![rule(&jwks(&[jwk("HS256", "")]))]);
    for header in [
        r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
        r#"{"alg":"HS256","crit":["urn:x"],"urn:x":true}"#,
        r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#,
        r#"{"alg":"HS256","typ":"at+jwt","cty":"JWT"}"#,
    ] {
        let token = token_by(header, CLAIMS, |message| sign("HS256", message));
        assert_eq!(refusal(&authenticator, &token), None, "{header}");
    }
}

#[test]
fn registered_claims_have_their_types() {
    let authenticator = compile(vec![rule(&jwks(&[jwk("HS256", "")]))]);
    let rows = [
        (r#""exp":"1700000100""#, Some("Jwt payload [exp] field is not an integer")),
        (r#""exp":null"#, Some("Jwt payload [exp] field is not an integer")),
        (r#""exp":[1700000100]"#, Some("Jwt payload [exp] field is not an integer")),
        (r#""exp":true"#, Some("Jwt payload [exp] field is not an integer")),
        (r#""exp":-1"#, Some("Jwt payload [exp] field is not a positive 64 bit integer")),
        (r#""exp":1e30"#, Some("Jwt payload [exp] field is not a positive 64 bit integer")),
        (
            r#""exp":18446744073709551616"#,
            Some("Jwt payload [exp] field is not a positive 64 bit integer"),
        ),
        (r#""exp":1e309"#, Some("Jwt payload is an invalid JSON")),
        (r#""exp":1700000100.9"#, None),
        (r#""exp":0"#, None),
        (r#""exp":18446744073709549568"#, None),
        (r#""exp":1700000000"#, None),
        (r#""exp":1699999940"#, None),
        (r#""exp":1699999939"#, Some("Jwt is expired")),
        (r#""nbf":1700000060"#, None),
        (r#""nbf":1700000061"#, Some("Jwt not yet valid")),
        (r#""nbf":"1""#, Some("Jwt payload [nbf] field is not an integer")),
        (r#""nbf":18446744073709549568"#, Some("Jwt not yet valid")),
        (r#""iat":-1"#, Some("Jwt payload [iat] field is not a positive 64 bit integer")),
        (r#""iat":1800000000"#, None),
        (r#""jti":1"#, Some("Jwt payload [jti] field is not a string")),
        (r#""aud":1"#, Some("Jwt payload [aud] field is not a string or string list")),
        (r#""aud":{}"#, Some("Jwt payload [aud] field is not a string or string list")),
        (r#""aud":null"#, Some("Jwt payload [aud] field is not a string or string list")),
        (r#""aud":["a",1]"#, Some("Jwt payload [aud] field is not a string or string list")),
        (r#""aud":[]"#, None),
        (r#""sub":null"#, Some("Jwt payload [sub] field is not a string")),
        (r#""iss":["https://a.test"]"#, Some("Jwt payload [iss] field is not a string")),
        (r#""exp":1,"exp":1800000000"#, Some("Jwt payload is an invalid JSON")),
    ];
    for (claim, expected) in rows {
        let issuer = if claim.contains("iss") { "" } else { r#","iss":"https://a.test""# };
        let token = token("HS256", &format!("{{{claim}{issuer}}}"));
        assert_eq!(refusal(&authenticator, &token), expected, "{claim}");
    }
}

#[test]
fn issuers_are_compared_byte_for_byte() {
    let authenticator = compile(vec![rule(&jwks(&[jwk("HS256", "")]))]);
    let issuers = ["https://a.test/", "HTTPS://a.test", "https://a.test ", "", "a.test"];
    for issuer in issuers {
        let token = token("HS256", &format!(r#"{{"iss":"{issuer}"}}"#));
        let text = "Jwt issuer is not configured";
        assert_eq!(refusal(&authenticator, &token), Some(text), "{issuer:?}");
    }
    assert_eq!(
        refusal(&authenticator, &token("HS256", r"{}")),
        Some("Jwt issuer is not configured")
    );
}

#[test]
fn a_key_id_of_one_issuer_means_nothing_to_another() {
    let mut other = rule(&jwks(&[jwk("ES256", r#","kid":"k""#)]));
    other.issuer = "https://b.test".into();
    let own = rule(&jwks(&[jwk("HS256", r#","kid":"k""#)]));
    let authenticator = compile(vec![own, other]);
    let of = |issuer: &str, algorithm: &str| {
        let header = format!(r#"{{"alg":"{algorithm}","kid":"k"}}"#);
        let claims = format!(r#"{{"iss":"{issuer}","sub":"mallory"}}"#);
        token_by(&header, &claims, |message| sign(algorithm, message))
    };
    assert_eq!(refusal(&authenticator, &of(ISSUER, "HS256")), None);
    assert_eq!(refusal(&authenticator, &of("https://b.test", "ES256")), None);
    assert_eq!(refusal(&authenticator, &of(ISSUER, "ES256")), Some(FAILS));
    assert_eq!(refusal(&authenticator, &of("https://b.test", "HS256")), Some(FAILS));
}

#[test]
fn signatures_of_ecdsa_are_in_range_and_of_the_right_length() {
    let authenticator = compile(vec![rule(&jwks(&[jwk("ES256", "")]))]);
    let order: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let rows: [(&str, Vec<u8>); 5] = [
        ("zero, zero", vec![0; 64]),
        ("order, order", [order, order].concat()),
        ("too short", vec![1; 63]),
        ("too long", vec![1; 65]),
        ("one byte", vec![0]),
    ];
    for (name, signature) in rows {
        let forged = token_by(r#"{"alg":"ES256"}"#, CLAIMS, |_| signature);
        assert_eq!(refusal(&authenticator, &forged), Some(FAILS), "{name}");
    }
    let longer = token_by(r#"{"alg":"ES256"}"#, CLAIMS, |m| [sign("ES256", m), vec![0]].concat());
    assert_eq!(refusal(&authenticator, &longer), Some(FAILS), "a byte after a good one");
}

#[test]
fn shapes_that_are_no_token_are_refused_before_anything_else() {
    let authenticator = compile(vec![rule(&jwks(&[jwk("HS256", "")]))]);
    let good = token("HS256", CLAIMS);
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = message.split_once('.').unwrap();
    let jwe = format!("{header}.{payload}.{payload}.{payload}.{signature}");
    let big = format!("{header}.{}.{signature}", "A".repeat(40_000));
    let rows = [
        ("encrypted token", jwe, FORM),
        ("dots", "..".to_owned(), FORM),
        ("many dots", ".".repeat(10_000), FORM),
        ("empty section", format!("{header}..{signature}"), FORM),
        ("empty section more", format!("{header}..{payload}.{signature}"), FORM),
        (
            "standard base64",
            format!("{header}.a+/a.{signature}"),
            "Jwt payload is an invalid Base64url encoded",
        ),
        (
            "padding",
            format!("{header}.{payload}=.{signature}"),
            "Jwt payload is an invalid Base64url encoded",
        ),
        ("large and no JSON", big, "Jwt payload is an invalid JSON"),
        (
            "null for a header",
            format!("{}.{payload}.{signature}", base64("null")),
            "Jwt header [alg] field is required and must be a string",
        ),
        (
            "null for a payload",
            format!("{header}.{}.{signature}", base64("null")),
            "Jwt issuer is not configured",
        ),
        ("general JSON serialisation", "{\"payload\":\"\"}".to_owned(), FORM),
    ];
    for (name, token, text) in rows {
        assert_eq!(refusal(&authenticator, &token), Some(text), "{name}");
    }
}

/// What is signed is the text of the sections, so that there is no second way to write them.
#[test]
fn sections_are_written_in_one_way() {
    let authenticator = compile(vec![rule(&jwks(&[jwk("HS256", "")]))]);
    let header = base64(r#"{"alg":"HS256" }"#);
    let payload = base64(r#"{"iss":"https://a.test"}  "#);
    assert!(header.len() % 4 == 2 && payload.len() % 4 == 3, "there are unused bits");
    let signed = |message: String| {
        let signature = base64(sign("HS256", message.as_bytes()));
        format!("{message}.{signature}")
    };
    let loose = |text: &str| {
        let (rest, last) = text.split_at(text.len() - 1);
        format!("{rest}{}", char::from(last.as_bytes()[0] + 1))
    };
    let good = signed(format!("{header}.{payload}"));
    let rows = [
        ("as it is", good.clone(), None),
        ("unused bits of the header", signed(format!("{}.{payload}", loose(&header))), Some(FAILS)),
        (
            "unused bits of the payload",
            signed(format!("{header}.{}", loose(&payload))),
            Some(FAILS),
        ),
        ("unused bits of the signature", loose(&good), None),
        (
            "a blank in the header",
            signed(format!("{} {}.{payload}", &header[..4], &header[4..])),
            Some(FAILS),
        ),
        ("a blank in the payload", signed(format!("{header}.{payload} ")), Some(FAILS)),
        (
            "a line feed in the signature",
            format!("{}\n{}", &good[..good.len() - 4], &good[good.len() - 4..]),
            Some(FAILS),
        ),
    ];
    for (name, token, expected) in rows {
        // Not as a header, which carries no line feed.
        let mut cache = crate::authn::TokenCache::default();
        let escaped = token.replace(' ', "%20").replace('\n', "%0a");
        let mut view = super::mint::view(&format!("/?access_token={escaped}"), &[]);
        let verdict = authenticator.authenticate(&mut view, super::mint::NOW, &mut cache);
        assert_eq!(verdict.err().map(|refusal| refusal.text), expected, "{name}");
    }
}

#[test]
fn nesting_has_a_limit() {
    let authenticator = compile(vec![rule(&jwks(&[jwk("HS256", "")]))]);
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        token("HS256", &format!(r#"{{"iss":"{ISSUER}","x":{open}{close}}}"#))
    };
    assert_eq!(refusal(&authenticator, &nested(90)), None);
    for levels in [101, 5_000] {
        let text = "Jwt payload is an invalid JSON";
        assert_eq!(refusal(&authenticator, &nested(levels)), Some(text), "{levels}");
    }
}

#[test]
fn the_order_of_checks_is_the_order_of_texts() {
    let mut strict = rule(&jwks(&[jwk("HS256", r#","kid":"k""#)]));
    strict.audiences = vec!["api".into()];
    let authenticator = compile(vec![strict]);
    let forged = |claims: &str, kid: &str| {
        let header = format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#);
        token_by(&header, claims, |_| vec![0; 32])
    };
    let good = r#"{"iss":"https://a.test","aud":"api"}"#;
    let rows = [
        (r#"{"iss":"x","exp":1,"aud":"x"}"#, "x", Reason::TokenIssuer),
        (r#"{"iss":"https://a.test","exp":1,"nbf":9e9,"aud":"x"}"#, "x", Reason::TokenNotYetValid),
        (r#"{"iss":"https://a.test","exp":1,"aud":"x"}"#, "x", Reason::TokenExpired),
        (r#"{"iss":"https://a.test","aud":"x"}"#, "x", Reason::TokenAudience),
        (r#"{"iss":"https://a.test"}"#, "x", Reason::TokenAudience),
        (good, "x", Reason::TokenKeyUnknown),
        (good, "k", Reason::TokenSignature),
    ];
    for (claims, kid, expected) in rows {
        let reason = show(&authenticator, &forged(claims, kid)).unwrap_err().reason;
        assert_eq!(reason, expected, "{claims} {kid}");
    }
}

#[test]
fn odd_keys_are_left_out_and_named() {
    let good = jwk("HS256", r#","kid":"good""#);
    let odd = [
        (r#"{"kty":"AKP"}"#, "`kty` is none of RSA, EC, OKP, oct"),
        (r#"{"kid":"x"}"#, "no `kty`"),
        ("1", "not an object"),
        (r#"{"kty":"oct","k":""}"#, "`k` is empty"),
        (r#"{"kty":"oct","k":"AAAA","alg":"RS256"}"#, "its `alg` is none of HS256, HS384, HS512"),
        (r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#, "not an RSA public key of 2048 to 8192 bits"),
        (r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#, "the point is not on its curve"),
        (
            r#"{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}"#,
            "`crv` is none of P-256, P-384, P-521",
        ),
        (
            r#"{"kty":"EC","crv":"P-256","alg":"ES384","x":"AA","y":"AA"}"#,
            "its `alg` does not belong to its `crv`",
        ),
        (r#"{"kty":"OKP","crv":"X25519","x":"AA"}"#, "`crv` is not Ed25519"),
        (r#"{"kty":"OKP","crv":"Ed25519","x":"AA"}"#, "`x` is not an Ed25519 public key"),
        (
            r#"{"kty":"RSA","d":"AA","n":"AQAB","e":"AQAB"}"#,
            "it is a private key, which nobody may publish",
        ),
    ];
    for (key, why) in odd {
        let keys = rule(&jwks(&[key.to_owned(), good.clone()]));
        let (authenticator, notes) = crate::authn::Authenticator::compile(vec![keys]);
        let note = format!(
            "RequestAuthentication default/ra: jwtRules[0].jwks: keys[0] is left out: {why}"
        );
        assert_eq!(notes, [note]);
        assert_eq!(refusal(&authenticator, &token("HS256", CLAIMS)), None, "{key}");
    }
}

#[test]
fn without_keys_an_issuer_is_closed_and_nothing_else() {
    let mut broken = rule("");
    broken.keys = KeySource::Unusable;
    let mut open = rule(&jwks(&[jwk("HS256", "")]));
    open.issuer = "https://b.test".into();
    let authenticator = compile(vec![broken, open]);
    let refused = show(&authenticator, &token("HS256", CLAIMS)).unwrap_err();
    assert_eq!((refused.reason, refused.text), (Reason::TokenKeysUnavailable, FAILS));
    let other = token("HS256", r#"{"iss":"https://b.test","sub":"bob"}"#);
    assert_eq!(subject(&show(&authenticator, &other).unwrap()), Some("bob"));
}
