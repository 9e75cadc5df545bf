//! A connection to where keys lie: resolved, checked, connected to the checked address, through a
//! proxy where one is configured, with TLS for `https`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{Method, Request};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::fetch::Error;
use super::{Settings, guard};
use crate::model::keys::{FetchOptions, FetchOutcome, KeyUrl};

/// Where Linux distributions keep the certificate authorities that they trust.
const SYSTEM_AUTHORITIES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A byte stream, with TLS or without.
pub(super) trait Bytestream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytestream for T {}
pub(super) type Stream = Box<dyn Bytestream>;

/// Connects to the host of a URL.
pub(super) async fn connect(
    url: &KeyUrl,
    options: &FetchOptions,
    settings: &Settings,
) -> Result<Stream, Error> {
    let allow_private = options.allow_private || settings.allow_private;
    let stream: Stream = match &options.proxy {
        None => Box::new(checked(url, |address| guard::allows(address, allow_private)).await?),
        Some(proxy) => {
            // The proxy resolves names, and is trusted to; an address in the URL is checked here.
            if let Ok(address) = url.host().parse::<IpAddr>()
                && !guard::allows(address, allow_private)
            {
                return Err(refused(url, &[address]));
            }
            tunnel(url, proxy).await?
        }
    };
    if !url.is_secure() {
        return Ok(stream);
    }
    let config = client_config(options, settings)?;
    let failed = |error: &dyn std::fmt::Display| {
        Error::new(FetchOutcome::Tls, format!("{url}: TLS: {error}"))
    };
    let name = ServerName::try_from(url.host().to_owned()).map_err(|error| failed(&error))?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await.map_err(|error| failed(&error))?;
    Ok(Box::new(stream))
}

/// Connects to an address of the URL's host that is allowed, and to no other.
async fn checked(url: &KeyUrl, allows: impl Fn(IpAddr) -> bool) -> Result<TcpStream, Error> {
    let found = tokio::net::lookup_host((url.host(), url.port()))
        .await
        .map_err(|error| Error::new(FetchOutcome::Resolve, format!("{}: {error}", url.host())))?;
    let found: Vec<SocketAddr> = found.collect();
    let allowed = found.iter().filter(|address| allows(address.ip()));
    let mut failure = None;
    for address in allowed {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                let message = format!("{url}: cannot connect to {address}: {error}");
                failure = Some(Error::new(FetchOutcome::Connect, message));
            }
        }
    }
    let addresses: Vec<IpAddr> = found.iter().map(SocketAddr::ip).collect();
    Err(failure.unwrap_or_else(|| refused(url, &addresses)))
}

fn refused(url: &KeyUrl, addresses: &[IpAddr]) -> Error {
    let message = format!(
        "{url} leads to {addresses:?}, which keys are not fetched from; loopback and private \
         addresses have to be allowed, link-local and metadata addresses cannot be"
    );
    Error::new(FetchOutcome::Address, message)
}

/// A tunnel through an HTTP proxy (RFC 9110 9.3.6). Its own address is the operator's word.
async fn tunnel(url: &KeyUrl, proxy: &KeyUrl) -> Result<Stream, Error> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::new(FetchOutcome::Connect, format!("{url} through proxy {proxy}: {error}"))
    };
    let stream = checked(proxy, |_| true).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a proxy connection for keys ended");
        }
    });
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(url.authority())
        .header(http::header::HOST, url.authority())
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(&error))?;
    let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
    if !response.status().is_success() {
        return Err(failed(&format_args!("it answered {}", response.status())));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(|error| failed(&error))?;
    Ok(Box::new(TokioIo::new(upgraded)))
}

/// Made for each fetch, so that renewed authorities count.
fn client_config(options: &FetchOptions, settings: &Settings) -> Result<ClientConfig, Error> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::new(FetchOutcome::Tls, format!("TLS cannot be set up: {error}"))
    };
    let roots = if let Some(pem) = &options.authorities {
        roots(pem.as_bytes())
    } else {
        let path = authorities(settings.authorities.as_deref())
            .ok_or_else(|| failed(&"this system has no certificate authorities; see --jwks-ca"))?;
        let pem = std::fs::read(&path)
            .map_err(|error| failed(&format_args!("{}: {error}", path.display())))?;
        roots(&pem)
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_root_certificates(roots);
    Ok(match &options.client_certificate {
        None => config.with_no_client_auth(),
        Some(certificate) => {
            let resolver = SingleCertAndKey::from(Arc::clone(&certificate.key));
            config.with_client_cert_resolver(Arc::new(resolver))
        }
    })
}

fn authorities(configured: Option<&Path>) -> Option<PathBuf> {
    let system = || SYSTEM_AUTHORITIES.iter().map(PathBuf::from).find(|path| path.exists());
    configured.map(Path::to_owned).or_else(system)
}

/// What cannot be read is left out: a bundle of a hundred has old ones.
fn roots(pem: &[u8]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).filter_map(Result::ok));
    roots
}
