//! This project, configured by the manifests that its users write.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Peer, Shape, Site};
use crate::material::ISSUER;

/// The default of `--token-cache`.
pub(super) const TOKEN_CACHE: usize = 32_768;
/// What is reloaded.
const ROUTES: &str = "routes.yaml";

pub(super) fn command(site: &Site<'_>, program: &Path, peer: Peer) -> Result<Vec<OsString>> {
    let config = site.folder.join("manifests");
    write_manifests(site, 0)?;
    let mut words: Vec<OsString> = vec![program.into(), "run".into(), "--config".into()];
    words.push(config.into_os_string());
    let mut flags = |some: &[&str]| words.extend(some.iter().map(OsString::from));
    flags(&["--workers", "1", "--log", "warn", "--drain-timeout", "0.5"]);
    flags(&["--admin", &format!("127.0.0.1:{}", site.admin_port())]);
    flags(&["--state-directory", &site.folder.join("state").to_string_lossy()]);
    // Daemons of one pin directory take over from each other; these are to run side by side.
    flags(&["--pin-directory", &format!("/sys/fs/bpf/bench-{}", site.port), "--takeover", "off"]);
    if peer == Peer::OursEbpf {
        flags(&["--interface", &site.interface, "--unpin-on-exit"]);
    } else {
        flags(&["--datapath", "off"]);
    }
    let log = site.folder.join("access.log");
    flags(&[
        "--access-log",
        if peer == Peer::OursLog { log.to_str().unwrap_or("-") } else { "off" },
    ]);
    Ok(words)
}

/// Writes the manifests; another edition differs from the last one in every route.
pub(crate) fn write_manifests(site: &Site<'_>, edition: u32) -> Result<()> {
    let folder = site.folder.join("manifests");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let write = |name: &str, text: &str| {
        // A new file takes the old one's place, so that nobody reads half of it.
        let (new, path) = (folder.join(format!(".{name}")), folder.join(name));
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    };
    write("gateway.yaml", &gateway(site)?)?;
    write("backend.yaml", &backend(site))?;
    write("tokens.yaml", &tokens(site)?)?;
    write("policies.yaml", &policies(site.shape))?;
    write(ROUTES, &routes(site.shape, edition))
}

fn gateway(site: &Site<'_>) -> Result<String> {
    let encoded = |name: &str| Ok::<_, anyhow::Error>(STANDARD.encode(site.material.text(name)?));
    Ok(format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{ name: gateway }}
spec: {{ controllerName: bench.test/gateway }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{ name: bench, namespace: default }}
spec:
  gatewayClassName: gateway
  listeners:
  - {{ name: http, protocol: HTTP, port: {port} }}
  - name: https
    protocol: HTTPS
    port: {tls_port}
    tls: {{ mode: Terminate, certificateRefs: [ {{ name: certificate }} ] }}
---
apiVersion: v1
kind: Secret
metadata: {{ name: certificate, namespace: default }}
type: kubernetes.io/tls
data:
  tls.crt: {certificate}
  tls.key: {key}
",
        port = site.port,
        tls_port = site.tls_port(),
        certificate = encoded("certificate.pem")?,
        key = encoded("key.pem")?,
    ))
}

fn backend(site: &Site<'_>) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{ name: upstream, namespace: default }}
spec: {{ ports: [ {{ name: http, port: 80, targetPort: {port}, protocol: TCP }} ] }}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: upstream-1
  namespace: default
  labels: {{ kubernetes.io/service-name: upstream }}
addressType: IPv4
ports: [ {{ name: http, port: {port}, protocol: TCP }} ]
endpoints: [ {{ addresses: [ {ip} ], conditions: {{ ready: true }} }} ]
",
        port = site.upstream.port(),
        ip = site.upstream.ip()
    )
}

fn tokens(site: &Site<'_>) -> Result<String> {
    Ok(format!(
        "apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{ name: issuer, namespace: default }}
spec:
  targetRefs: [ {{ group: gateway.networking.k8s.io, kind: Gateway, name: bench }} ]
  jwtRules:
  - issuer: {ISSUER}
    jwks: '{jwks}'
",
        jwks = site.material.text("jwks.json")?
    ))
}

fn policies(shape: Shape) -> String {
    // Writing to a String cannot fail.
    let mut text = String::new();
    for (at, paths) in shape.protected().iter().enumerate() {
        let _written = write!(
            text,
            "---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{ name: needs-token-{at}, namespace: default }}
spec:
  targetRefs: [ {{ group: gateway.networking.k8s.io, kind: Gateway, name: bench }} ]
  action: DENY
  rules:
"
        );
        for path in paths {
            let _written = write!(
                text,
                "  - from: [ {{ source: {{ notRequestPrincipals: [ \"*\" ] }} }} ]\n    \
                 to: [ {{ operation: {{ paths: [ \"{path}\" ] }} }} ]\n"
            );
        }
    }
    text
}

/// One route for everything, and more of them for prefixes of their own.
fn routes(shape: Shape, edition: u32) -> String {
    let mut text = String::new();
    for at in 0..shape.routes {
        let path = if at == 0 { "/".to_owned() } else { format!("/service-{at}/v{edition}") };
        // Writing to a String cannot fail.
        let _written = write!(
            text,
            "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: route-{at}, namespace: default }}
spec:
  parentRefs: [ {{ name: bench }} ]
  rules:
  - matches: [ {{ path: {{ type: PathPrefix, value: {path} }} }} ]
    backendRefs: [ {{ name: upstream, port: 80 }} ]
"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_written_out() {
        let shape = Shape { rules: 3, policies: 2, routes: 4 };
        let (policies, routes) = (policies(shape), routes(shape, 7));
        assert_eq!(policies.matches("kind: AuthorizationPolicy").count(), 2);
        assert_eq!(policies.matches("operation:").count(), 6);
        assert_eq!(routes.matches("kind: HTTPRoute").count(), 4);
        assert_eq!(routes.matches("/v7 ").count(), 3);
    }
}
