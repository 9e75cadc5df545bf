//! A client for a handful of requests: HTTP/1.1, each on a connection of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::input::{InputError, Url};
use super::VerifyError;
use crate::cli::tools::VerifyArgs;
use crate::request::Scheme;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where distributions keep the certificates that everybody trusts.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// A way to one gateway.
pub(super) struct Client {
    host: String,
    port: u16,
    /// Instead of what the host resolves to.
    connect: Option<SocketAddr>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Client {
    pub(super) fn new(arguments: &VerifyArgs, url: &Url) -> Result<Self, VerifyError> {
        let tls = match url.scheme {
            Scheme::Http => None,
            Scheme::Https => {
                let name = ServerName::try_from(url.host().to_owned()).map_err(|_| {
                    InputError::word("--url", url.host(), "this is no name that TLS can ask for")
                })?;
                Some((TlsConnector::from(Arc::new(tls(arguments)?)), name))
            }
        };
        Ok(Self { host: url.host().to_owned(), port: url.port(), connect: arguments.connect, tls })
    }

    /// Sends a request and gives the status of its response, or what went wrong.
    pub(super) async fn status(&self, head: http::request::Parts) -> Result<StatusCode, String> {
        tokio::time::timeout(PATIENCE, self.exchange(head))
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} seconds", PATIENCE.as_secs())))
    }

    async fn exchange(&self, head: http::request::Parts) -> Result<StatusCode, String> {
        let request = Request::from_parts(head, Empty::new());
        let stream = match self.connect {
            Some(address) => TcpStream::connect(address).await,
            None => TcpStream::connect((&*self.host, self.port)).await,
        };
        let stream = stream.map_err(|error| format!("cannot connect: {error}"))?;
        match &self.tls {
            None => send(stream, request).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                send(stream.map_err(|error| format!("TLS: {error}"))?, request).await
            }
        }
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<StatusCode, String> {
    let broken = |error: hyper::Error| format!("HTTP: {error}");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(broken);
    connection.abort();
    Ok(response?.status())
}

fn tls(arguments: &VerifyArgs) -> Result<ClientConfig, VerifyError> {
    let failed = |error: &dyn std::fmt::Display| VerifyError::Client(format!("TLS: {error}"));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| failed(&error))?;
    let mut config = if arguments.insecure {
        let verifier = Arc::new(Anybody(provider));
        builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
    } else {
        builder.with_root_certificates(roots(arguments.cacert.as_deref())?).with_no_client_auth()
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(cacert: Option<&Path>) -> Result<RootCertStore, InputError> {
    let known = SYSTEM_ROOTS.into_iter().map(Path::new).find(|path| path.is_file());
    let path = cacert.or(known).ok_or_else(|| {
        InputError::word(
            "--cacert",
            "",
            "this system has no certificates; name a PEM file of yours",
        )
    })?;
    let text = path.display().to_string();
    let wrong = |problem: String| InputError::word("--cacert", &text, problem);
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(|error| wrong(format!("cannot be read as PEM: {error}")))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        // Of a system's many certificates some are of kinds that rustls does not take.
        if let Err(error) = roots.add(certificate)
            && cacert.is_some()
        {
            return Err(wrong(format!("holds a certificate that cannot be used: {error}")));
        }
    }
    if roots.is_empty() {
        return Err(wrong("holds no certificate".to_owned()));
    }
    Ok(roots)
}

/// Believes every certificate, for `--insecure`; signatures are checked all the same.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
