//! Clients that send one request after the other over kept connections, and forgive nothing: a
//! request that is not answered with 200 is a failure, and none is sent twice.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;

use crate::netns::Netns;
use crate::patience;
use crate::raw::Client;

/// Pause of a client between two requests.
const PAUSE: Duration = Duration::from_millis(2);

/// How a client speaks.
#[derive(Clone, Debug)]
pub enum Speech {
    /// HTTP/1.1 in clear.
    Http(SocketAddr),
    /// HTTP/1.1 over TLS, with the certificate of this server in PEM.
    Https(SocketAddr, &'static str, String),
    /// HTTP/2 in clear.
    Http2(SocketAddr),
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Requests that were answered.
    pub answered: u64,
    /// Connections that were made.
    pub connections: u64,
    /// What went wrong.
    pub failures: Vec<String>,
}

/// Requests that were answered so far.
#[derive(Debug, Default)]
pub struct Progress {
    answered: AtomicU64,
    stop: AtomicBool,
}

impl Progress {
    /// How many.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits for so many more.
    pub fn more(&self, requests: u64) -> Result<()> {
        let wanted = self.answered() + requests;
        patience::until(|| (self.answered() >= wanted).then_some(()))
            .context("the clients get no answers")
    }
}

/// Does something while clients are at work in a namespace; gives an outcome for each.
pub fn under<T>(
    netns: &Netns,
    speeches: &[Speech],
    work: impl FnOnce(&Progress) -> Result<T>,
) -> Result<(T, Vec<Outcome>)> {
    let progress = Progress::default();
    thread::scope(|scope| {
        let clients: Vec<_> = speeches
            .iter()
            .map(|speech| {
                let mut client = Work { progress: &progress, outcome: Outcome::default() };
                scope.spawn(move || {
                    let done = netns.inside(|| client.run(speech));
                    client.outcome.failures.extend(done.err().map(|error| format!("{error:#}")));
                    client.outcome
                })
            })
            .collect();
        let done = work(&progress);
        progress.stop.store(true, Ordering::Relaxed);
        let outcomes = clients
            .into_iter()
            .map(|client| client.join().map_err(|_| anyhow::anyhow!("a client panicked")));
        let outcomes = outcomes.collect::<Result<Vec<_>>>()?;
        Ok((done?, outcomes))
    })
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, connections, failures } = self;
        let failed = failures.len();
        write!(f, "{answered} answered over {connections} connections, {failed} failed")?;
        failures.iter().take(5).try_for_each(|failure| write!(f, "\n  {failure}"))
    }
}

struct Work<'p> {
    progress: &'p Progress,
    outcome: Outcome,
}

impl Work<'_> {
    fn run(&mut self, speech: &Speech) -> Result<()> {
        match speech {
            Speech::Http(address) => self.http1(&|| Client::connect(*address)),
            Speech::Https(address, name, certificate) => {
                let config = trusting(certificate)?;
                self.http1(&|| Client::connect(*address)?.with_tls(&config, name))
            }
            Speech::Http2(address) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(self.http2(*address))
            }
        }
    }

    fn stopped(&self) -> bool {
        self.progress.stop.load(Ordering::Relaxed) || self.outcome.failures.len() > 20
    }

    fn note(&mut self, result: Result<()>) {
        match result {
            Ok(()) => {
                self.outcome.answered += 1;
                self.progress.answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => self.outcome.failures.push(format!("{error:#}")),
        }
    }

    fn http1(&mut self, connect: &dyn Fn() -> Result<Client>) -> Result<()> {
        let mut kept: Option<Client> = None;
        while !self.stopped() {
            let mut client = if let Some(client) = kept.take() {
                client
            } else {
                self.outcome.connections += 1;
                connect()?
            };
            let result =
                client.exchange(b"GET /x HTTP/1.1\r\nHost: gw.example.test\r\n\r\n", false);
            let number = self.outcome.answered;
            let result = result.with_context(|| format!("request {number}")).and_then(|response| {
                ensure!(response.status == 200, "status {}", response.status);
                if response.header("connection") != Some("close") {
                    kept = Some(client);
                }
                Ok(())
            });
            self.note(result);
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    async fn http2(&mut self, address: SocketAddr) -> Result<()> {
        let mut kept: Option<SendRequest<Empty<Bytes>>> = None;
        while !self.stopped() {
            let mut sender = kept.take();
            if let Some(kept) = &mut sender
                && kept.ready().await.is_err()
            {
                sender = None;
            }
            let sender = if let Some(sender) = sender {
                sender
            } else {
                self.outcome.connections += 1;
                connect(address).await?
            };
            match ask(sender, address).await {
                // Told to go away before it was sent: nobody's loss.
                Ok(None) => {}
                Ok(Some(sender)) => {
                    kept = Some(sender);
                    self.note(Ok(()));
                }
                Err(error) => self.note(Err(error)),
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // What it means for a request, the request says.
        let _ended = connection.await;
    });
    Ok(sender)
}

/// One request; none if it was given back unsent.
async fn ask(
    mut sender: SendRequest<Empty<Bytes>>,
    address: SocketAddr,
) -> Result<Option<SendRequest<Empty<Bytes>>>> {
    let request = http::Request::get(format!("http://{address}/x")).body(Empty::new())?;
    let response = match sender.try_send_request(request).await {
        Ok(response) => response,
        Err(mut error) => match error.take_message() {
            Some(_unsent) => return Ok(None),
            None => return Err(error.into_error().into()),
        },
    };
    if response.status() != 200 {
        bail!("status {}", response.status());
    }
    response.into_body().collect().await?;
    Ok(Some(sender))
}

fn trusting(certificate: &str) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(Arc::new(config?.with_root_certificates(roots).with_no_client_auth()))
}
