//! Whatever target a client writes: the path that is decided about is the one that the upstream gets.

use anyhow::{Context, Result};
use gateway_tests::raw::Response;

use crate::setting::{HTTP, Setting, setting};

#[expect(unreachable_pub, dead_code, reason = "the fuzz targets' library uses all of it")]
#[path = "../fuzz/src/generated.rs"]
mod generated;

use generated::Random;

/// So many targets are asked for.
const TARGETS: usize = 1_000;
/// As much of a target as a challenge tells.
const TOLD: usize = 256;

const POLICY: &str = r#"
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: generated, namespace: default }
spec:
  action: DENY
  rules:
  - to:
    - operation:
        paths: ["/admin*", "*/secret", "/tenants/{*}/keys"]
"#;

#[test]
fn the_upstream_gets_the_path_that_was_decided_about() -> Result<()> {
    let setting = setting()?;
    setting.manifests.write("generated.yaml", POLICY)?;
    setting
        .daemon
        .until("the policy", || (status(&setting, "/admin").ok()? == 403).then_some(()))?;
    setting.origin.take();
    let mut random = Random(1);
    let (mut forwarded, mut denied) = (0, 0);
    for _ in 0..TARGETS {
        let target = random.target();
        let decided = decided(&setting, &target)?;
        assert!(setting.origin.take().is_empty(), "{target}: a bad token came through");
        let status = status(&setting, &target)?;
        let seen = setting.origin.take();
        match (status, decided) {
            (200, Some(decided)) => {
                forwarded += 1;
                assert_eq!(told(&seen[0].target), decided, "{target}");
                assert!(!is_denied(&seen[0].target), "{target}");
            }
            (403, Some(decided)) => {
                denied += 1;
                assert!(is_denied(&decided) && seen.is_empty(), "{target}: {decided}");
            }
            // Malformed, whoever asks; or with a bad token of its own.
            (400, None) | (401, Some(_)) => assert!(seen.is_empty(), "{target}"),
            other => panic!("{target}: {other:?}"),
        }
    }
    assert!(forwarded > TARGETS / 3 && denied > 10, "{forwarded} forwarded, {denied} denied");
    Ok(())
}

/// The path and query that a bad token's challenge names; none where there is nothing to decide.
fn decided(setting: &Setting, target: &str) -> Result<Option<String>> {
    let response = ask(setting, target, "authorization: Bearer bad\r\n")?;
    if response.status != 401 {
        return Ok(None);
    }
    let challenge = response.header("www-authenticate").context("no challenge")?;
    let realm = challenge.strip_prefix(&format!("Bearer realm=\"{HTTP}"));
    let told = realm.and_then(|rest| rest.strip_suffix("\", error=\"invalid_token\""));
    Ok(Some(told.with_context(|| challenge.to_owned())?.to_owned()))
}

fn status(setting: &Setting, target: &str) -> Result<u16> {
    Ok(ask(setting, target, "")?.status)
}

fn ask(setting: &Setting, target: &str, line: &str) -> Result<Response> {
    let host = HTTP.strip_prefix("http://").context("no scheme")?;
    setting.exchange(&format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n{line}\r\n"))
}

fn told(target: &str) -> &str {
    &target[..target.len().min(TOLD)]
}

/// What the policy says, by other means than the gateway's.
fn is_denied(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    let segments: Vec<_> = path.split('/').collect();
    let template = segments.len() == 4
        && (segments[1], segments[3]) == ("tenants", "keys")
        && !segments[2].is_empty();
    path.starts_with("/admin") || path.ends_with("/secret") || template
}
