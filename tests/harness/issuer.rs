//! An issuer of tokens: an HTTPS server with a private certificate authority that serves its keys,
//! and can be killed, slowed and made to lie; and the tokens it signs.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use anyhow::{Context, Result};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer as Signer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::netns::Netns;

/// What a server does with a request for a path.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// These bytes of HTTP/1.1.
    Answer(Vec<u8>),
    /// Nothing, and keeps the connection.
    Hang,
}

impl Behaviour {
    /// Status 200 with this body and these header lines, each with its line end.
    pub fn ok(headers: &str, body: &str) -> Self {
        Self::status("200 OK", headers, body)
    }

    /// Any status.
    pub fn status(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n");
        Self::Answer((head + body).into_bytes())
    }
}

/// A certificate authority of a test's own.
pub struct Authority {
    signer: Signer<'static, KeyPair>,
    /// Its certificate.
    pub pem: String,
}

/// A certificate and its key, as PEM.
#[derive(Debug)]
pub struct Identity {
    /// Certificate.
    pub certificate: String,
    /// PKCS #8.
    pub key: String,
}

impl Authority {
    /// A new one.
    pub fn new() -> Result<Self> {
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let pem = parameters.self_signed(&key)?.pem();
        Ok(Self { signer: Signer::new(parameters, key), pem })
    }

    /// A certificate for names or addresses.
    pub fn issue(&self, names: &[&str]) -> Result<Identity> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(names)?.signed_by(&key, &self.signer)?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

#[derive(Debug, Default)]
struct State {
    behaviours: Mutex<HashMap<String, Behaviour>>,
    hits: Mutex<Vec<String>>,
    stopped: AtomicBool,
    /// Connections that hang, kept open.
    held: Mutex<Vec<StreamOwned<ServerConnection, TcpStream>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running server. Dropped, it is killed: its port refuses connections.
#[derive(Debug)]
pub struct IssuerServer {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

impl IssuerServer {
    /// Starts one with a certificate of `authority` for `127.0.0.1` and `localhost`; port 0 takes
    /// a free one. With `clients`, it demands a client certificate of that authority.
    pub fn start(
        netns: &Netns,
        authority: &Authority,
        port: u16,
        clients: Option<&Authority>,
    ) -> Result<Self> {
        let listener = netns.inside(|| {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("cannot bind the issuer")
        })?;
        let address = listener.local_addr()?;
        let config = Arc::new(config(&authority.issue(&["127.0.0.1", "localhost"])?, clients)?);
        let state = Arc::new(State::default());
        let own = Arc::clone(&state);
        listener.set_nonblocking(true)?;
        let thread = thread::spawn(move || {
            while !own.stopped.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(5));
                    continue;
                };
                let (config, state) = (Arc::clone(&config), Arc::clone(&own));
                thread::spawn(move || {
                    // A client that breaks off ends its connection, nothing else.
                    let _gone = serve(stream, config, &state);
                });
            }
        });
        Ok(Self { address, state, thread: Some(thread) })
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// What is done with requests for a path from now on; without, 404.
    pub fn on(&self, path: &str, behaviour: Behaviour) {
        lock(&self.state.behaviours).insert(path.to_owned(), behaviour);
    }

    /// Requests for a path so far.
    pub fn hits(&self, path: &str) -> usize {
        lock(&self.state.hits).iter().filter(|hit| *hit == path).count()
    }
}

impl Drop for IssuerServer {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Relaxed);
        lock(&self.state.held).clear();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the issuer panicked");
        }
    }
}

fn config(identity: &Identity, clients: Option<&Authority>) -> Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes())?;
    let key = PrivatePkcs8KeyDer::from_pem_slice(identity.key.as_bytes())?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes())?)?;
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    Ok(builder.with_single_cert(vec![certificate], PrivateKeyDer::Pkcs8(key))?)
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, state: &State) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut reader = BufReader::new(StreamOwned::new(connection, stream));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    while line.trim_end() != "" {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
    }
    lock(&state.hits).push(path.clone());
    let behaviour = lock(&state.behaviours).get(&path).cloned();
    let mut stream = reader.into_inner();
    match behaviour.unwrap_or_else(|| Behaviour::status("404 Not Found", "", "")) {
        Behaviour::Answer(bytes) => {
            stream.write_all(&bytes)?;
            stream.conn.send_close_notify();
            stream.flush()
        }
        Behaviour::Hang => {
            lock(&state.held).push(stream);
            Ok(())
        }
    }
}

/// A signing key with its id (Ed25519).
pub struct SigningKey {
    id: String,
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// A new one.
    pub fn new(id: &str) -> Result<Self> {
        let pair = Ed25519KeyPair::generate().context("cannot make a key")?;
        Ok(Self { id: id.to_owned(), pair })
    }

    /// Its public half as a JWK.
    pub fn jwk(&self) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{}","x":"{x}"}}"#, self.id)
    }

    /// A token with these claims.
    pub fn token(&self, claims: &str) -> String {
        self.token_named(&self.id, claims)
    }

    /// A token that says another key's id.
    pub fn token_named(&self, id: &str, claims: &str) -> String {
        self.token_with(&format!(r#"{{"alg":"EdDSA","kid":"{id}"}}"#), claims)
    }

    /// A token with this header.
    pub fn token_with(&self, header: &str, claims: &str) -> String {
        let header = URL_SAFE_NO_PAD.encode(header);
        let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

/// A key set.
pub fn jwks(keys: &[&SigningKey]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| key.jwk()).collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

/// An HTTP proxy that connects every tunnel to one address.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts one; it runs until the test ends.
    pub fn start(netns: &Netns, target: SocketAddr) -> Result<Self> {
        let listener = netns.inside(|| {
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot bind the proxy")
        })?;
        let address = listener.local_addr()?;
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&requests);
        let namespace = netns.path();
        thread::spawn(move || {
            // This thread is in the namespace from here on, and so are those it starts.
            if let Err(error) = enter(&namespace) {
                eprintln!("the proxy cannot enter the namespace: {error:#}");
                return;
            }
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                thread::spawn(move || {
                    let _gone = tunnel(stream, target, &kept);
                });
            }
        });
        Ok(Self { address, requests })
    }

    /// The request lines so far.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.requests).clone()
    }
}

fn enter(namespace: &str) -> Result<()> {
    let file = std::fs::File::open(namespace)?;
    nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWNET)?;
    Ok(())
}

fn tunnel(stream: TcpStream, target: SocketAddr, kept: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    lock(kept).push(line.trim_end().to_owned());
    while line.trim_end() != "" {
        line.clear();
        reader.read_line(&mut line)?;
    }
    let mut down = stream;
    down.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let mut up = TcpStream::connect(target)?;
    let (mut from, mut to) = (up.try_clone()?, down.try_clone()?);
    thread::spawn(move || {
        let _gone = io::copy(&mut from, &mut to);
    });
    io::copy(&mut down, &mut up)?;
    Ok(())
}
