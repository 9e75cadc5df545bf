//! Key sets: whatever an issuer publishes, odd keys are left out, counted and named, and never a
//! shared secret or a private key among those that are used.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gateway_daemon::authn::{Authenticator, inspect_keys};
use gateway_daemon::model::jwt::{JwtRule, KeySource};
use gateway_daemon::model::keys::{FetchOptions, KeyPlace, KeyUrl, RemoteKeys};
use gateway_daemon::model::object::ObjectRef;
use serde_json::Value;

use super::setting::{NOW, signed};

/// The bytes are the text of a key set.
pub fn holds(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let url = KeyUrl::parse("https://a.test/keys").expect("a URL");
    let fetched = inspect_keys(&source(KeyPlace::Url(url)), text);
    let own = inspect_keys(&source(KeyPlace::File(Path::new("/keys").into())), text);
    assert_eq!(fetched.usable + fetched.skipped, own.usable + own.skipped);
    assert!(fetched.notes.len() >= fetched.skipped, "each that is left out is named");
    if own.usable > 0 {
        let set: Value = serde_json::from_str(text).expect("what has keys is JSON");
        let keys = set["keys"].as_array().expect("a list of keys");
        assert_eq!(keys.len(), own.usable + own.skipped);
        let publishable = |key: &&Value| key["d"].is_null() && key["kty"] != "oct";
        assert!(fetched.usable <= keys.iter().filter(publishable).count());
        assert!(own.usable <= keys.iter().filter(|key| key["d"].is_null()).count());
    }
    verifies_or_not(text, own.usable);
}

/// A token is judged by such a set in some way, and by a set without keys never accepted.
fn verifies_or_not(text: &str, usable: usize) {
    let (authenticator, _) = Authenticator::compile(vec![rule(text)]);
    for algorithm in ["HS256", "RS256", "ES256", "EdDSA"] {
        let header = format!(r#"{{"alg":"{algorithm}"}}"#);
        let token = signed(header.as_bytes(), br#"{"iss":"https://a.test"}"#);
        let verdicts = authenticator.inspect(token.as_bytes(), NOW);
        let accepted = verdicts.iter().flat_map(|rule| &rule.tokens).any(|t| t.outcome.is_ok());
        assert!(!accepted || usable > 0 && algorithm == "HS256", "{algorithm}");
    }
}

fn source(place: KeyPlace) -> RemoteKeys {
    RemoteKeys {
        issuer: "https://a.test".into(),
        place,
        timeout: Duration::from_secs(1),
        options: FetchOptions::default(),
    }
}

fn rule(keys: &str) -> JwtRule {
    let object = ObjectRef {
        kind: "RequestAuthentication",
        namespace: "default".into(),
        name: "fuzz".into(),
    };
    JwtRule::new(object, "https://a.test".into(), KeySource::Inline(Arc::from(keys)))
}
