//! What a token costs, per algorithm: recognised in the cache, and checked anew with a key that was
//! parsed when the configuration was; a forged one, known and not; for comparison, the check of the
//! signature alone with a key that is parsed again each time, as signature crates offer it.

use std::hint::black_box;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{BatchSize, Criterion};
use gateway_daemon::authn::{Authenticator, CacheLimits, TokenCache};
use gateway_daemon::model::jwt::{JwtRule, KeySource};
use gateway_daemon::request::RequestView;

use super::{HOST, NOW, bearer, head, object, view};

const CLAIMS: &str = r#"{"iss":"https://a.test","sub":"alice","aud":["api"],"exp":1800000000,
    "scope":"read write","groups":["dev","ops"]}"#;

/// A signed token, the key for it as a JWK, and the check of its signature from raw bytes.
pub(crate) struct Sample {
    name: &'static str,
    /// The key.
    pub(crate) jwk: String,
    /// The token.
    pub(crate) token: String,
    raw: Box<dyn Fn() -> bool>,
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn message(algorithm: &str) -> String {
    format!("{}.{}", base64(format!(r#"{{"alg":"{algorithm}"}}"#)), base64(CLAIMS))
}

/// With an RSA key of 2,048 bits.
pub(crate) fn rsa() -> Sample {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key and a signature");
    let message = message("RS256");
    let mut signed = vec![0; key.public_modulus_len()];
    let random = SystemRandom::new();
    key.sign(&signature::RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signed)
        .expect("a key and a signature");
    let numbers = signature::RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
    let (n, e) = (base64(&numbers.n), base64(&numbers.e));
    Sample {
        name: "RS256",
        jwk: format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"}}"#),
        token: format!("{message}.{}", base64(&signed)),
        raw: Box::new(move || {
            let rule = &signature::RSA_PKCS1_2048_8192_SHA256;
            numbers.verify(rule, message.as_bytes(), &signed).is_ok()
        }),
    }
}

fn p256() -> Sample {
    let key = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING)
        .expect("a key and a signature");
    let message = message("ES256");
    let signed = key.sign(&SystemRandom::new(), message.as_bytes()).expect("a key and a signature");
    let point = key.public_key().as_ref().to_vec();
    let (x, y) = (base64(&point[1..33]), base64(&point[33..]));
    Sample {
        name: "ES256",
        jwk: format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#),
        token: format!("{message}.{}", base64(signed.as_ref())),
        raw: Box::new(move || {
            let rule = &signature::ECDSA_P256_SHA256_FIXED;
            let key = signature::UnparsedPublicKey::new(rule, &point);
            key.verify(message.as_bytes(), signed.as_ref()).is_ok()
        }),
    }
}

fn ed25519() -> Sample {
    let key = Ed25519KeyPair::generate().expect("a key and a signature");
    let message = message("EdDSA");
    let signed = key.sign(message.as_bytes());
    let point = key.public_key().as_ref().to_vec();
    Sample {
        name: "EdDSA",
        jwk: format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, base64(&point)),
        token: format!("{message}.{}", base64(signed.as_ref())),
        raw: Box::new(move || {
            let key = signature::UnparsedPublicKey::new(&signature::ED25519, &point);
            key.verify(message.as_bytes(), signed.as_ref()).is_ok()
        }),
    }
}

/// The token with a byte in the middle of its signature changed.
pub(crate) fn forge(token: &str) -> String {
    let (message, signature) = token.rsplit_once('.').unwrap_or_default();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 0x55;
    }
    format!("{message}.{}", base64(bytes))
}

/// Accepts what [`Sample`]s are, with this key.
pub(crate) fn rule(jwk: &str) -> JwtRule {
    let keys = KeySource::Inline(format!(r#"{{"keys":[{jwk}]}}"#).into());
    let rule = JwtRule::new(object("ra"), "https://a.test".into(), keys);
    JwtRule { audiences: vec!["api".into()], ..rule }
}

/// A request without any token.
pub(crate) fn absent(c: &mut Criterion) {
    let authenticator = Authenticator::compile(vec![rule(&rsa().jwk)]).0;
    let mut cache = TokenCache::new(CacheLimits::default());
    let mut view = view(head("/", HOST));
    c.bench_function("token/absent", |b| {
        b.iter(|| authenticator.authenticate(black_box(&mut view), NOW, &mut cache).is_ok());
    });
}

pub(crate) fn tokens(c: &mut Criterion) {
    for sample in [rsa(), p256(), ed25519()] {
        let authenticator = Authenticator::compile(vec![rule(&sample.jwk)]).0;
        let mut group = c.benchmark_group(format!("token/{}", sample.name));
        let nothing = CacheLimits { accepted_bytes: 0, refused_bytes: 0, ..CacheLimits::default() };
        let forged = forge(&sample.token);
        let rows = [
            ("known", &sample.token, true, CacheLimits::default()),
            ("new", &sample.token, true, nothing),
            ("forged, known", &forged, false, CacheLimits::default()),
            ("forged, new", &forged, false, nothing),
        ];
        for (name, token, is_good, limits) in rows {
            let mut cache = TokenCache::new(limits);
            let mut judge = |mut view: RequestView| {
                let accepted = authenticator.authenticate(&mut view, NOW, &mut cache).is_ok();
                (accepted, view)
            };
            let shown = || view(bearer(head("/", HOST), token));
            assert_eq!(judge(shown()).0, is_good, "{}, {name}", sample.name);
            group.bench_function(name, |b| {
                b.iter_batched(shown, &mut judge, BatchSize::SmallInput);
            });
        }
        group.bench_function("key parsed, signature alone", |b| {
            b.iter(|| black_box((sample.raw)()));
        });
    }
}
