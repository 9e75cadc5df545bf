//! What a token costs, per algorithm: recognised in the cache, and checked anew with a key that was
//! parsed when the configuration was; a forged one, known and not; for comparison, the check of the
//! signature alone with a key that is parsed again each time, as signature crates offer it. `cargo bench -p gateway-daemon --bench verify`.

use std::hint::black_box;
use std::net::SocketAddr;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use gateway_daemon::authn::{Authenticator, CacheLimits, TokenCache};
use gateway_daemon::clock::UnixSeconds;
use gateway_daemon::model::jwt::{ClaimFormat, JwtRule, KeySource, TokenPlaces};
use gateway_daemon::model::object::ObjectRef;
use gateway_daemon::request::{ConnMeta, RequestView, Scheme};

const NOW: UnixSeconds = UnixSeconds(1_700_000_000);
const CLAIMS: &str = r#"{"iss":"https://a.test","sub":"alice","aud":["api"],"exp":1800000000,
    "scope":"read write","groups":["dev","ops"]}"#;

/// A signed token, the key for it as a JWK, and the check of its signature from raw bytes.
struct Sample {
    name: &'static str,
    jwk: String,
    token: String,
    raw: Box<dyn Fn() -> bool>,
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn message(algorithm: &str) -> String {
    format!("{}.{}", base64(format!(r#"{{"alg":"{algorithm}"}}"#)), base64(CLAIMS))
}

fn rsa() -> Option<Sample> {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).ok()?;
    let message = message("RS256");
    let mut signed = vec![0; key.public_modulus_len()];
    let random = SystemRandom::new();
    key.sign(&signature::RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signed).ok()?;
    let numbers = signature::RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
    let (n, e) = (base64(&numbers.n), base64(&numbers.e));
    Some(Sample {
        name: "RS256",
        jwk: format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"}}"#),
        token: format!("{message}.{}", base64(&signed)),
        raw: Box::new(move || {
            let rule = &signature::RSA_PKCS1_2048_8192_SHA256;
            numbers.verify(rule, message.as_bytes(), &signed).is_ok()
        }),
    })
}

fn p256() -> Option<Sample> {
    let key = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).ok()?;
    let message = message("ES256");
    let signed = key.sign(&SystemRandom::new(), message.as_bytes()).ok()?;
    let point = key.public_key().as_ref().to_vec();
    let (x, y) = (base64(&point[1..33]), base64(&point[33..]));
    Some(Sample {
        name: "ES256",
        jwk: format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#),
        token: format!("{message}.{}", base64(signed.as_ref())),
        raw: Box::new(move || {
            let rule = &signature::ECDSA_P256_SHA256_FIXED;
            let key = signature::UnparsedPublicKey::new(rule, &point);
            key.verify(message.as_bytes(), signed.as_ref()).is_ok()
        }),
    })
}

fn ed25519() -> Option<Sample> {
    let key = Ed25519KeyPair::generate().ok()?;
    let message = message("EdDSA");
    let signed = key.sign(message.as_bytes());
    let point = key.public_key().as_ref().to_vec();
    Some(Sample {
        name: "EdDSA",
        jwk: format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, base64(&point)),
        token: format!("{message}.{}", base64(signed.as_ref())),
        raw: Box::new(move || {
            let key = signature::UnparsedPublicKey::new(&signature::ED25519, &point);
            key.verify(message.as_bytes(), signed.as_ref()).is_ok()
        }),
    })
}

/// The token with a byte in the middle of its signature changed.
fn forge(token: &str) -> String {
    let (message, signature) = token.rsplit_once('.').unwrap_or_default();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 0x55;
    }
    format!("{message}.{}", base64(bytes))
}

fn rule(jwk: &str) -> JwtRule {
    JwtRule {
        object: ObjectRef { kind: "Bench", namespace: "default".into(), name: "ra".into() },
        index: 0,
        issuer: "https://a.test".into(),
        audiences: vec!["api".into()],
        keys: KeySource::Inline(format!(r#"{{"keys":[{jwk}]}}"#).into()),
        places: TokenPlaces::default(),
        forward_original_token: false,
        output_payload_to_header: None,
        output_claim_to_headers: Vec::new(),
        space_delimited_claims: Vec::new(),
        clock_skew: JwtRule::CLOCK_SKEW,
        required_claims: Vec::new(),
        claim_format: ClaimFormat::Envoy,
    }
}

fn view(token: &str) -> Option<RequestView> {
    let address = SocketAddr::from(([127, 0, 0, 1], 80));
    let conn =
        ConnMeta { peer: address, local: address, scheme: Scheme::Http, sni: None, proxied: None };
    let request = http::Request::builder()
        .header("host", "gw.example.test")
        .header("authorization", format!("Bearer {token}"));
    RequestView::read(request.body(()).ok()?.into_parts().0, &conn).ok()
}

fn tokens(c: &mut Criterion) {
    for sample in [rsa(), p256(), ed25519()].into_iter().flatten() {
        let authenticator = Authenticator::compile(vec![rule(&sample.jwk)]).0;
        let mut group = c.benchmark_group(format!("token/{}", sample.name));
        let nothing = CacheLimits { accepted_bytes: 0, refused_bytes: 0, ..CacheLimits::default() };
        let forged = forge(&sample.token);
        let rows = [
            ("cached", &sample.token, CacheLimits::default()),
            ("parsed key", &sample.token, nothing),
            ("forged, cached", &forged, CacheLimits::default()),
            ("forged, parsed key", &forged, nothing),
        ];
        for (name, token, limits) in rows {
            let mut cache = TokenCache::new(limits);
            group.bench_function(name, |b| {
                let accepts = |view: Option<RequestView>| {
                    let mut view = view?;
                    let accepted = authenticator.authenticate(&mut view, NOW, &mut cache);
                    Some((accepted.is_ok(), view))
                };
                b.iter_batched(|| view(token), accepts, BatchSize::SmallInput);
            });
        }
        group.bench_function("raw key, signature alone", |b| b.iter(|| black_box((sample.raw)())));
    }
}

criterion_group!(benches, tokens);
criterion_main!(benches);
