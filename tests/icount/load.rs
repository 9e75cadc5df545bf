//! What is asked of the daemon: its manifests, its upstream, and a client that sends one request at
//! a time.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use gateway_tests::issuer::{SigningKey, jwks};
use gateway_tests::manifests::{Manifests, base, certificate, http_listener, https_listener};
use gateway_tests::origin::Origin;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio::runtime::Runtime;

use crate::profile::Profile;

const HOST: &str = "localhost";
/// What the upstream's answers carry.
const BODY: [u8; 1_000] = [b'x'; 1_000];

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No token, a path without protection.
    Plain,
    /// A token that is known, a protected path.
    Token,
    /// No token, a protected path: 403.
    Denied,
    /// A forged token that is known: 401.
    Forged,
    /// As `Token`, over TLS.
    Tls,
    /// As `Token`, over HTTP/2.
    H2,
    /// A TLS connection for every request.
    Handshake,
}

/// Counts the instructions of some work.
type Counted<'c> = dyn FnMut(&mut dyn FnMut() -> Result<()>) -> Result<Profile> + 'c;

/// What is needed to ask.
pub(crate) struct Load {
    manifests: Manifests,
    /// Where the daemon listens.
    pub(crate) plain: SocketAddr,
    secured: SocketAddr,
    good: String,
    forged: String,
    config: Arc<ClientConfig>,
    _origin: Origin,
}

impl Load {
    /// An upstream and the manifests that lead to it.
    pub(crate) fn new() -> Result<Self> {
        let origin = Origin::start(
            None,
            Arc::new(|_, stream| {
                let length = BODY.len();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                stream.write_all(&[head.as_bytes(), &BODY].concat())?;
                Ok(true)
            }),
        )?;
        let [plain, secured] = [free_port()?, free_port()?];
        let (key, other) = (SigningKey::new("a")?, SigningKey::new("b")?);
        let claims = r#"{"iss":"own","sub":"alice","exp":4102444800}"#;
        let (secret, pem) = certificate("https", &[HOST])?;
        let listeners =
            http_listener("http", plain.port()) + &https_listener("https", secured.port(), None);
        let manifests = Manifests::new()?;
        manifests.write("base.yaml", &base(&listeners, origin.address))?;
        manifests.write("secret.yaml", &secret)?;
        manifests.write("policies.yaml", &policies(&key))?;
        Ok(Self {
            manifests,
            plain,
            secured,
            good: key.token(claims),
            forged: other.token_named("a", claims),
            config: client_config(&pem)?,
            _origin: origin,
        })
    }

    /// The folder of the manifests.
    pub(crate) fn manifests(&self) -> &Path {
        self.manifests.path()
    }

    /// Sends requests of a kind: some to warm up, then those that are counted.
    pub(crate) fn run(
        &self,
        kind: Kind,
        warm: usize,
        count: usize,
        mut counted: impl FnMut(&mut dyn FnMut() -> Result<()>) -> Result<Profile>,
    ) -> Result<Profile> {
        let counted: &mut Counted<'_> = &mut counted;
        let (path, token, status) = match kind {
            Kind::Plain | Kind::Handshake => ("/free", None, 200),
            Kind::Token | Kind::Tls | Kind::H2 => ("/protected", Some(&self.good), 200),
            Kind::Denied => ("/protected", None, 403),
            Kind::Forged => ("/protected", Some(&self.forged), 401),
        };
        let mut asker: Box<dyn FnMut() -> Result<u16>> = match kind {
            Kind::Plain | Kind::Token | Kind::Denied | Kind::Forged => {
                let mut stream = connect(self.plain)?;
                let request = request(path, token, "");
                Box::new(move || ask(&mut stream, &request))
            }
            Kind::Tls => {
                let mut stream = self.handshake()?;
                let request = request(path, token, "");
                Box::new(move || ask(&mut stream, &request))
            }
            Kind::Handshake => {
                let request = request(path, token, "connection: close\r\n");
                Box::new(move || ask(&mut self.handshake()?, &request))
            }
            Kind::H2 => self.h2(path, token.context("no token")?.clone())?,
        };
        let mut some = |count: usize| -> Result<()> {
            for _ in 0..count {
                let found = asker()?;
                ensure!(found == status, "status {found} where {status} is expected");
            }
            Ok(())
        };
        some(warm)?;
        counted(&mut || some(count))
    }

    fn handshake(&self) -> Result<StreamOwned<ClientConnection, TcpStream>> {
        let connection =
            ClientConnection::new(Arc::clone(&self.config), ServerName::try_from(HOST)?)?;
        Ok(StreamOwned::new(connection, connect(self.secured)?))
    }

    /// A connection with prior knowledge.
    fn h2(&self, path: &str, token: String) -> Result<Box<dyn FnMut() -> Result<u16>>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stream = connect(self.plain)?;
        stream.set_nonblocking(true)?;
        let mut sender: SendRequest<Empty<Bytes>> = runtime.block_on(async {
            let stream = TokioIo::new(tokio::net::TcpStream::from_std(stream)?);
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
            tokio::spawn(connection);
            Ok::<_, anyhow::Error>(sender)
        })?;
        let uri: http::Uri = format!("http://{HOST}{path}").parse()?;
        Ok(Box::new(move || {
            let request = http::Request::get(uri.clone())
                .header("authorization", format!("Bearer {token}"))
                .body(Empty::new())?;
            h2_status(&runtime, &mut sender, request)
        }))
    }
}

fn h2_status(
    runtime: &Runtime,
    sender: &mut SendRequest<Empty<Bytes>>,
    request: http::Request<Empty<Bytes>>,
) -> Result<u16> {
    runtime.block_on(async {
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(status != 200 || body.len() == BODY.len(), "{} bytes of a body", body.len());
        Ok(status)
    })
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream =
        TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A port that nobody has now.
fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Tokens of a key, and a path that needs one.
fn policies(key: &SigningKey) -> String {
    format!(
        "apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{ name: own, namespace: default }}
spec:
  targetRefs: [ {{ group: gateway.networking.k8s.io, kind: Gateway, name: ingress }} ]
  jwtRules: [ {{ issuer: own, jwks: '{}' }} ]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{ name: needs-token, namespace: default }}
spec:
  targetRefs: [ {{ group: gateway.networking.k8s.io, kind: Gateway, name: ingress }} ]
  action: DENY
  rules:
  - from: [ {{ source: {{ notRequestPrincipals: [ \"*\" ] }} }} ]
    to: [ {{ operation: {{ paths: [ /protected ] }} }} ]
",
        jwks(&[key])
    )
}

fn client_config(pem: &str) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // A full handshake each time.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// A request such as browsers and proxies send.
fn request(path: &str, token: Option<&String>, more: &str) -> Vec<u8> {
    let token = token.map(|token| format!("authorization: Bearer {token}\r\n"));
    format!(
        "GET {path}?page=2 HTTP/1.1\r\nhost: {HOST}\r\nuser-agent: curl/8.5.0\r\naccept: */*\r\n\
         accept-encoding: gzip, br\r\nx-request-id: 6f1b7c9a\r\n{}{more}\r\n",
        token.unwrap_or_default()
    )
    .into_bytes()
}

/// Sends a request and reads its answer, whose length must be told; gives the status.
fn ask(stream: &mut (impl Read + Write), request: &[u8]) -> Result<u16> {
    stream.write_all(request)?;
    stream.flush()?;
    let mut answer = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let length = stream.read(&mut buffer)?;
        ensure!(length > 0, "the connection ended early");
        answer.extend_from_slice(&buffer[..length]);
        if let Some((status, whole)) = read(&answer)?
            && answer.len() >= whole
        {
            return Ok(status);
        }
    }
}

/// Status and length of an answer, once its head is there.
fn read(answer: &[u8]) -> Result<Option<(u16, usize)>> {
    let text = String::from_utf8_lossy(answer);
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return Ok(None) };
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    let lower = head.to_ascii_lowercase();
    let (_, length) = lower.split_once("content-length: ").context("no length")?;
    let length: usize = length.lines().next().unwrap_or_default().parse()?;
    Ok(Some((status, head.len() + 4 + length)))
}
