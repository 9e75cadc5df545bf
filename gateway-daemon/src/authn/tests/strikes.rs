//! Which refusals count against the source, where keys may change behind our back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gateway_common::bans::BanReason;

use super::mint::{CLAIMS, compile, jwk, jwks, rule, show, sign, token_by};
use crate::authn::{Authenticator, StoredKeys};
use crate::model::jwt::{JwtRule, KeySource};
use crate::model::keys::{FetchOptions, KeyFeed, KeyPlace, RemoteKeys};
use crate::model::reason::Reason;

/// A rule whose keys are fetched, and these were.
fn fetched(keys: &str) -> Authenticator {
    let source = Arc::new(RemoteKeys {
        issuer: "https://a.test".into(),
        place: KeyPlace::File(Path::new("/keys").into()),
        timeout: Duration::from_secs(1),
        options: FetchOptions::default(),
    });
    let stored = |source: &RemoteKeys| {
        let feed = Arc::new(KeyFeed::new(source));
        Some(StoredKeys { text: Some(keys.into()), feed })
    };
    let rule = JwtRule { keys: KeySource::Remote(source), ..rule(keys) };
    Authenticator::compile_with(vec![rule], Vec::new(), &stored).0
}

#[test]
fn a_signature_is_forged_for_sure_where_the_key_is_known() {
    let keys = jwks(&[jwk("RS256", r#","kid":"a""#)]);
    let unnamed = jwks(&[jwk("RS256", "")]);
    let forged = |header: &str| token_by(header, CLAIMS, |_| sign("RS256", b"something else"));
    let named = r#"{"alg":"RS256","kid":"a"}"#;
    let nameless = r#"{"alg":"RS256"}"#;
    let rows = [
        ("inline, named", compile(vec![rule(&keys)]), named, true),
        ("inline, nameless", compile(vec![rule(&keys)]), nameless, true),
        ("fetched, named", fetched(&keys), named, true),
        ("fetched, nameless: the key may be new", fetched(&keys), nameless, false),
        ("fetched, keys without names", fetched(&unnamed), named, false),
    ];
    for (name, authenticator, header, counts) in rows {
        let refusal = show(&authenticator, &forged(header)).unwrap_err();
        assert_eq!(refusal.reason, Reason::TokenSignature, "{name}");
        assert_eq!(refusal.text, "Jwt verification fails", "{name}");
        assert_eq!(refusal.strike, counts.then_some(BanReason::TokenSignature), "{name}");
    }
    let unknown = forged(r#"{"alg":"RS256","kid":"next"}"#);
    let refusal = show(&fetched(&keys), &unknown).unwrap_err();
    assert_eq!((refusal.reason, refusal.strike), (Reason::TokenKeyUnknown, None));
}
