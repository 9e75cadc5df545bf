//! Manifests that tests start from: a Gateway `ingress` with one Service, and certificates.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

/// A directory of manifests.
#[derive(Debug)]
pub struct Manifests {
    directory: TempDir,
}

impl Manifests {
    /// An empty directory.
    pub fn new() -> Result<Self> {
        Ok(Self { directory: tempfile::tempdir()? })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file, atomically.
    pub fn write(&self, name: &str, text: &str) -> Result<&Self> {
        let path = self.directory.path().join(name);
        let new = self.directory.path().join(format!(".{name}.new"));
        std::fs::write(&new, text)?;
        std::fs::rename(&new, &path)?;
        Ok(self)
    }
}

/// Gateway, HTTPRoute for every path, Service and EndpointSlice.
pub fn base(listeners: &str, upstream: SocketAddr) -> String {
    let mut text = format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{ name: default }}
spec: {{ controllerName: example.test/gateway }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{ name: ingress, namespace: default }}
spec:
  gatewayClassName: default
  listeners:
{listeners}---
"
    );
    text += &route("all", "/", "echo");
    text += "---\n";
    text += &service("echo", upstream);
    text
}

/// An HTTP listener.
pub fn http_listener(name: &str, port: u16) -> String {
    format!("  - {{ name: {name}, port: {port}, protocol: HTTP }}\n")
}

/// An HTTPS listener with the certificate of Secret `NAME-cert`.
pub fn https_listener(name: &str, port: u16, hostname: Option<&str>) -> String {
    let hostname = hostname.map(|h| format!("hostname: \"{h}\", ")).unwrap_or_default();
    format!(
        "  - {{ name: {name}, port: {port}, protocol: HTTPS, {hostname}tls: {{ certificateRefs: [ {{ name: {name}-cert }} ] }} }}\n"
    )
}

/// An HTTPRoute with one path prefix.
pub fn route(name: &str, prefix: &str, service: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: {name}, namespace: default }}
spec:
  parentRefs: [ {{ name: ingress }} ]
  rules:
  - matches: [ {{ path: {{ type: PathPrefix, value: {prefix} }} }} ]
    backendRefs: [ {{ name: {service}, port: 8000 }} ]
"
    )
}

/// A Service with one endpoint.
pub fn service(name: &str, endpoint: SocketAddr) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{ name: {name}, namespace: default }}
spec: {{ ports: [ {{ name: http, port: 8000, targetPort: {port}, protocol: TCP }} ] }}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}-1
  namespace: default
  labels: {{ kubernetes.io/service-name: {name} }}
addressType: IPv4
ports: [ {{ name: http, port: {port}, protocol: TCP }} ]
endpoints: [ {{ addresses: [ {ip} ], conditions: {{ ready: true }} }} ]
",
        port = endpoint.port(),
        ip = endpoint.ip()
    )
}

/// A self-signed certificate as Secret `NAME-cert`; gives the manifest and the certificate's PEM.
pub fn certificate(name: &str, hostnames: &[&str]) -> Result<(String, String)> {
    let names: Vec<String> = hostnames.iter().map(|&h| h.to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).context("cannot make a certificate")?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let mut text = String::new();
    writeln!(
        text,
        "apiVersion: v1\nkind: Secret\nmetadata: {{ name: {name}-cert, namespace: default }}"
    )?;
    writeln!(text, "type: kubernetes.io/tls\ndata:")?;
    writeln!(text, "  tls.crt: {}", STANDARD.encode(&certificate))?;
    writeln!(text, "  tls.key: {}", STANDARD.encode(key))?;
    Ok((text, certificate))
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of the workspace.
pub fn workspace_file(path: &str) -> Result<String> {
    let path = root().join(path);
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}
