//! The token cache: what it remembers, what it must not, and how much.

use super::mint::{CLAIMS, NOW, compile, jwk, jwks, rule, sign, subject, token, token_by, view};
use crate::authn::{Authenticator, CacheLimits, TokenCache};
use crate::clock::UnixSeconds;
use crate::model::reason::Reason;

fn show(
    authenticator: &Authenticator,
    cache: &mut TokenCache,
    now: u64,
    token: &str,
) -> Result<Option<String>, Reason> {
    let mut view = view("/", &[("authorization", &format!("Bearer {token}"))]);
    let shown = authenticator.authenticate(&mut view, UnixSeconds(now), cache);
    shown.map(|a| subject(&a).map(str::to_owned)).map_err(|refusal| refusal.reason)
}

fn entries(cache: &TokenCache) -> u64 {
    cache.stats().accepted.entries + cache.stats().refused.entries
}

fn hits_and_misses(cache: &TokenCache) -> (u64, u64) {
    let stats = cache.stats();
    (stats.accepted.hits + stats.refused.hits, stats.misses)
}

#[test]
fn good_and_bad_tokens_are_remembered() {
    let authenticator = compile(vec![rule(&jwks(&[jwk("HS256", "")]))]);
    let mut cache = TokenCache::default();
    let good = token("HS256", CLAIMS);
    let bad = token_by(r#"{"alg":"HS256"}"#, CLAIMS, |_| vec![1; 32]);
    for _ in 0..3 {
        assert_eq!(show(&authenticator, &mut cache, NOW.0, &good), Ok(Some("alice".to_owned())));
        assert_eq!(show(&authenticator, &mut cache, NOW.0, &bad), Err(Reason::TokenSignature));
    }
    assert_eq!(hits_and_misses(&cache), (4, 2));
}

#[test]
fn time_is_checked_at_every_use() {
    let authenticator = compile(vec![rule(&jwks(&[jwk("HS256", "")]))]);
    let mut cache = TokenCache::default();
    let claims = r#"{"iss":"https://a.test","sub":"alice","nbf":1700000000,"exp":1700000100}"#;
    let token = token("HS256", claims);
    let mut at = |now| show(&authenticator, &mut cache, now, &token);
    assert_eq!(at(1_699_999_939), Err(Reason::TokenNotYetValid));
    assert_eq!(at(1_699_999_940), Ok(Some("alice".to_owned())));
    assert_eq!(at(1_700_000_160), Ok(Some("alice".to_owned())));
    assert_eq!(at(1_700_000_161), Err(Reason::TokenExpired));
    // An hour is the most that any rule may let a clock be off.
    assert_eq!(at(1_700_003_701), Err(Reason::TokenExpired));
    assert_eq!(entries(&cache), 0, "an expired token is dropped");
}

#[test]
fn a_reload_forgets_and_another_gateway_never_knew() {
    let first = compile(vec![rule(&jwks(&[jwk("HS256", "")]))]);
    let mut cache = TokenCache::default();
    let good = token("HS256", CLAIMS);
    assert!(show(&first, &mut cache, NOW.0, &good).is_ok());
    let rotated = compile(vec![rule(&jwks(&[jwk("ES256", "")]))]);
    assert_eq!(show(&rotated, &mut cache, NOW.0, &good), Err(Reason::TokenSignature));
    let closed = compile(Vec::new());
    assert_eq!(show(&closed, &mut cache, NOW.0, &good), Ok(None));
    assert!(show(&first, &mut cache, NOW.0, &good).is_ok());
}

#[test]
fn tokens_that_end_alike_are_told_apart() {
    let authenticator = compile(vec![rule(&jwks(&[jwk("HS256", "")]))]);
    let mut cache = TokenCache::default();
    let alice = token("HS256", r#"{"iss":"https://a.test","sub":"alice"}"#);
    assert!(show(&authenticator, &mut cache, NOW.0, &alice).is_ok());
    // The same signature under another payload of the same length.
    let (_, signature) = alice.rsplit_once('.').unwrap();
    let mallory = token("HS256", r#"{"iss":"https://a.test","sub":"malry"}"#);
    let (message, _) = mallory.rsplit_once('.').unwrap();
    let forged = format!("{message}.{signature}");
    assert_eq!(forged.len(), alice.len());
    for _ in 0..2 {
        assert_eq!(show(&authenticator, &mut cache, NOW.0, &forged), Err(Reason::TokenSignature));
        assert_eq!(show(&authenticator, &mut cache, NOW.0, &alice), Ok(Some("alice".to_owned())));
    }
}

#[test]
fn a_flood_of_bad_tokens_costs_good_ones_nothing() {
    let authenticator = compile(vec![rule(&jwks(&[jwk("HS256", "")]))]);
    let limits = CacheLimits { accepted: 4, refused: 8, ..CacheLimits::default() };
    let mut cache = TokenCache::new(limits);
    let good = token("HS256", CLAIMS);
    assert!(show(&authenticator, &mut cache, NOW.0, &good).is_ok());
    for at in 0_u32..1000 {
        let signature = at.to_be_bytes().repeat(8);
        let bad = token_by(r#"{"alg":"HS256"}"#, CLAIMS, |_| signature);
        assert_eq!(show(&authenticator, &mut cache, NOW.0, &bad), Err(Reason::TokenSignature));
    }
    let before = cache.stats();
    assert!(show(&authenticator, &mut cache, NOW.0, &good).is_ok());
    let stats = cache.stats();
    assert_eq!(stats.accepted.hits, before.accepted.hits + 1);
    assert_eq!((stats.accepted.entries, stats.accepted.evictions), (1, 0));
    assert_eq!(stats.refused.entries + stats.refused.evictions, 1000);
    assert!(stats.refused.entries <= 8 && stats.refused.bytes > 0);
}

#[test]
fn a_store_with_room_pushes_nobody_out() {
    let authenticator = compile(vec![rule(&jwks(&[jwk("HS256", "")]))]);
    let mut cache = TokenCache::new(CacheLimits { accepted: 1024, ..CacheLimits::default() });
    let tokens: Vec<_> = (0..640)
        .map(|at| token("HS256", &format!(r#"{{"iss":"https://a.test","sub":"{at}"}}"#)))
        .collect();
    for good in tokens.iter().chain(&tokens) {
        assert!(show(&authenticator, &mut cache, NOW.0, good).is_ok());
    }
    let stats = cache.stats();
    assert_eq!((stats.misses, stats.accepted.evictions), (640, 0));
    assert_eq!((stats.accepted.hits, stats.accepted.entries), (640, 640));
}

#[test]
fn bytes_are_bounded() {
    let authenticator = compile(vec![rule(&jwks(&[jwk("HS256", "")]))]);
    let limits = CacheLimits { accepted: 4096, accepted_bytes: 100_000, ..CacheLimits::default() };
    let mut cache = TokenCache::new(limits);
    for at in 0..200 {
        let filling = "x".repeat(at * 37 % 2000);
        let claims = format!(r#"{{"iss":"https://a.test","sub":"{at}","x":"{filling}"}}"#);
        let good = token("HS256", &claims);
        assert_eq!(show(&authenticator, &mut cache, NOW.0, &good), Ok(Some(at.to_string())));
        assert!(cache.stats().accepted.bytes <= 100_000);
    }
    assert!(entries(&cache) > 10);
    // One that would take too much of it is judged, and not kept.
    let kept = entries(&cache);
    let claims = format!(r#"{{"iss":"https://a.test","x":"{}"}}"#, "x".repeat(30_000));
    let large = token_by(r#"{"alg":"HS256"}"#, &claims, |message| sign("HS256", message));
    assert!(show(&authenticator, &mut cache, NOW.0, &large).is_ok());
    assert_eq!(entries(&cache), kept);
}
