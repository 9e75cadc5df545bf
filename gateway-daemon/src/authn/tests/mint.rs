//! Keys, tokens, rules and requests for tests.

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA512,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;

use crate::authn::{Authenticated, Authenticator, Refusal, TokenCache};
use crate::clock::UnixSeconds;
use crate::model::jwt::{JwtRule, KeySource};
use crate::model::object::ObjectRef;
use crate::request::{ConnMeta, RequestView, Scheme};

/// The time of all tests.
pub(super) const NOW: UnixSeconds = UnixSeconds(1_700_000_000);
/// The issuer of most.
pub(super) const ISSUER: &str = "https://a.test";
/// A payload of it that is good.
pub(super) const CLAIMS: &str = r#"{"iss":"https://a.test","sub":"alice","exp":1700000100}"#;

static RSA: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
static P256: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());
static P384: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap());
static P521: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap());
static ED25519: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::generate().unwrap());
pub(super) const SECRET: &[u8] = b"a secret of at least thirty-two bytes";

pub(super) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Public numbers of the RSA key: modulus and exponent.
pub(super) fn rsa_numbers() -> (Vec<u8>, Vec<u8>) {
    let key = RSA.public_key();
    let number = |n: aws_lc_rs::signature::RsaPublicKeyComponents<Vec<u8>>| (n.n, n.e);
    number(key.into())
}

/// The RSA key in DER (`SubjectPublicKeyInfo`).
pub(super) fn rsa_der() -> Vec<u8> {
    use aws_lc_rs::encoding::AsDer as _;
    let der: aws_lc_rs::encoding::PublicKeyX509Der<'_> = RSA.public_key().as_der().unwrap();
    der.as_ref().to_vec()
}

/// The public half of the key for an algorithm as a JWK, with more members.
pub(super) fn jwk(algorithm: &str, more: &str) -> String {
    let point = |point: &[u8], curve: &str| {
        let (x, y) = point[1..].split_at(point.len() / 2);
        let (x, y) = (base64(x), base64(y));
        format!(r#""kty":"EC","crv":"{curve}","x":"{x}","y":"{y}""#)
    };
    let key = match algorithm {
        "RS256" | "PS512" => {
            let (n, e) = rsa_numbers();
            format!(r#""kty":"RSA","n":"{}","e":"{}""#, base64(n), base64(e))
        }
        "ES256" => point(P256.public_key().as_ref(), "P-256"),
        "ES384" => point(P384.public_key().as_ref(), "P-384"),
        "ES512" => point(P521.public_key().as_ref(), "P-521"),
        "EdDSA" => {
            let x = base64(ED25519.public_key().as_ref());
            format!(r#""kty":"OKP","crv":"Ed25519","x":"{x}""#)
        }
        _ => format!(r#""kty":"oct","k":"{}""#, base64(SECRET)),
    };
    format!("{{{key}{more}}}")
}

pub(super) fn jwks(keys: &[String]) -> String {
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

/// Signs a message as an algorithm says.
pub(super) fn sign(algorithm: &str, message: &[u8]) -> Vec<u8> {
    let random = SystemRandom::new();
    let ec = |key: &EcdsaKeyPair| key.sign(&random, message).unwrap().as_ref().to_vec();
    let rsa = |padding| {
        let mut signature = vec![0; RSA.public_modulus_len()];
        RSA.sign(padding, &random, message, &mut signature).unwrap();
        signature
    };
    match algorithm {
        "RS256" => rsa(&RSA_PKCS1_SHA256),
        "PS512" => rsa(&RSA_PSS_SHA512),
        "ES256" => ec(&P256),
        "ES384" => ec(&P384),
        "ES512" => ec(&P521),
        "EdDSA" => ED25519.sign(message).as_ref().to_vec(),
        "HS256" => mac(SECRET, message),
        other => panic!("no key for {other}"),
    }
}

/// HMAC with SHA-256.
pub(super) fn mac(secret: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
}

/// A token with this header and payload, signed by `sign`.
pub(super) fn token_by(header: &str, payload: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", base64(header), base64(payload));
    let signature = base64(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// A token with this payload, signed by the key for an algorithm.
pub(super) fn token(algorithm: &str, payload: &str) -> String {
    let header = format!(r#"{{"alg":"{algorithm}"}}"#);
    token_by(&header, payload, |message| sign(algorithm, message))
}

/// A rule for the issuer with these keys.
pub(super) fn rule(keys: &str) -> JwtRule {
    let object =
        ObjectRef { kind: "RequestAuthentication", namespace: "default".into(), name: "ra".into() };
    JwtRule::new(object, ISSUER.into(), KeySource::Inline(keys.into()))
}

pub(super) fn compile(rules: Vec<JwtRule>) -> Authenticator {
    let (compiled, notes) = Authenticator::compile(rules);
    assert_eq!(notes, Vec::<String>::new());
    compiled
}

/// A request with these headers.
pub(super) fn view(target: &str, headers: &[(&str, &str)]) -> RequestView {
    let mut request = Request::builder().uri(target).header("host", "gw.test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 80));
    let conn =
        ConnMeta { peer: address, local: address, scheme: Scheme::Http, sni: None, proxied: None };
    RequestView::read(request.body(()).unwrap().into_parts().0, &conn).unwrap()
}

/// Shows a bearer token to an authenticator.
pub(super) fn show(authenticator: &Authenticator, token: &str) -> Result<Authenticated, Refusal> {
    let mut view = view("/", &[("authorization", &format!("Bearer {token}"))]);
    authenticator.authenticate(&mut view, NOW, &mut TokenCache::default())
}

/// The text that a token is refused with; none if it is accepted.
pub(super) fn refusal(authenticator: &Authenticator, token: &str) -> Option<&'static str> {
    show(authenticator, token).err().map(|refusal| refusal.text)
}

/// Subject of the identity, if any.
pub(super) fn subject(authenticated: &Authenticated) -> Option<&str> {
    let identity = authenticated.identity.as_ref()?;
    Some(identity.subject.as_deref().unwrap_or_default())
}
