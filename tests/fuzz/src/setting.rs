//! A compiled configuration for fuzzed requests and tokens, and the secret of its issuer.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_common::path::PathSlot;
use gateway_daemon::clock::UnixSeconds;
use gateway_daemon::control::{Prepared, Settings};
use gateway_daemon::request::{ConnMeta, Scheme};
use gateway_daemon::snapshot::Snapshot;

/// The configuration: rules for two issuers, and policies of every kind.
const MANIFESTS: &str = include_str!("setting.yaml");
/// The shared secret of `https://a.test`, as the configuration has it.
const SECRET: &[u8] = b"a secret of at least thirty-two bytes";
/// The time of every decision.
pub const NOW: UnixSeconds = UnixSeconds(1_700_000_000);
/// Headers that rules write, and no client may.
pub const RESERVED: [&str; 4] = ["x-payload", "x-sub", "x-list", "x-deep"];

static SNAPSHOT: LazyLock<Arc<Snapshot>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(folder.path().join("setting.yaml"), MANIFESTS).expect("a file in it");
    let settings = Settings { paths: vec![folder.path().into()], ..Settings::default() };
    let prepared = Prepared::read(settings).unwrap_or_else(|error| panic!("{error}"));
    let slots = Box::new(|names: &[String]| vec![PathSlot::NONE; names.len()]);
    prepared.publish(slots).writer().current()
});

/// The compiled configuration.
pub fn snapshot() -> &'static Arc<Snapshot> {
    &SNAPSHOT
}

/// A client of its listener.
pub fn conn() -> ConnMeta {
    ConnMeta {
        peer: SocketAddr::from(([192, 0, 2, 7], 40_000)),
        local: SocketAddr::from(([127, 0, 0, 1], 8080)),
        scheme: Scheme::Http,
        sni: None,
        proxied: None,
    }
}

/// A token of this header and payload, signed by the issuer that has the secret.
pub fn signed(header: &[u8], payload: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
    format!("{message}.{signature}")
}
