//! Certificates to rustls: one `ServerConfig` per HTTPS port, which chooses the certificate by the
//! server name of the handshake (RFC 6066) and answers only to names that a listener has.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::model::listener::{Hostname, Listener};

/// Builds `ServerConfig`s. Lives as long as the process, so that a reload does not end the
/// sessions that clients may resume.
pub(super) struct TlsBuilder {
    ticketer: Arc<dyn ProducesTickets>,
}

impl TlsBuilder {
    /// With fresh ticket keys; rustls rotates them every six hours.
    pub(super) fn new() -> Result<Self, rustls::Error> {
        Ok(Self { ticketer: Ticketer::new()? })
    }

    /// TLS for the listeners of one port, the most specific hostname first.
    pub(super) fn build(
        &self,
        listeners: &[&Listener],
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let provider = Arc::new(provider());
        let names = listeners.iter().map(|listener| NameCertificates {
            hostname: listener.hostname.clone(),
            keys: listener.certificates.iter().map(|c| Arc::clone(&c.key)).collect(),
        });
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(NameResolver { names: names.collect() }));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = Arc::clone(&self.ticketer);
        config.send_tls13_tickets = TICKETS;
        config.ignore_client_order = has_aes();
        Ok(Arc::new(config))
    }
}

/// Tickets per handshake of TLS 1.3. A resumed session brings another one, so that one is enough for
/// a client that connects again; those that open several connections at once pay one full
/// handshake more.
const TICKETS: usize = 1;

/// rustls' cipher suites, AES-128-GCM before AES-256-GCM: as safe, and less work per byte.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| match suite.suite().as_str() {
        Some(name) if name.contains("AES_128") => 0,
        Some(name) if name.contains("AES_256") => 1,
        _ => 2,
    });
    provider
}

/// Whether the CPU has instructions for AES; else the client's order is the better guess, since it
/// has `ChaCha20` first where it has none.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has_aes = std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    let has_aes = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has_aes = false;
    has_aes
}

/// The certificates of a listener.
struct NameCertificates {
    hostname: Option<Hostname>,
    keys: Vec<Arc<CertifiedKey>>,
}

/// Chooses by server name. A client that sends none gets the listener without hostname.
struct NameResolver {
    names: Vec<NameCertificates>,
}

impl NameResolver {
    fn keys(&self, name: Option<&str>) -> Option<&[Arc<CertifiedKey>]> {
        self.names
            .iter()
            .find(|entry| match (&entry.hostname, name) {
                (None, _) => true,
                (Some(hostname), Some(name)) => hostname.matches(name),
                (Some(_), None) => false,
            })
            .map(|entry| &*entry.keys)
    }
}

impl fmt::Debug for NameResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names.iter().map(|entry| &entry.hostname)).finish()
    }
}

impl ResolvesServerCert for NameResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let keys = self.keys(name.as_deref())?;
        let fits =
            |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        // One listener may have several certificates: by name, and by algorithm.
        let named = match (keys, &name) {
            ([_, _, ..], Some(name)) => keys.iter().filter(fits).find(|key| is_for(key, name)),
            _ => None,
        };
        named.or_else(|| keys.iter().find(fits)).map(Arc::clone)
    }
}

fn is_for(key: &CertifiedKey, name: &str) -> bool {
    let Some(certificate) = key.cert.first() else { return false };
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else { return false };
    ServerName::try_from(name).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
}
