//! One fetch: a document, or two where the first says where the keys are (OpenID Connect Discovery
//! 1.0, section 4). Redirects stay on the host; size and time are bounded.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_ENCODING, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;

use super::connect::{Stream, connect};
use super::{Settings, schedule};
use crate::model::keys::{FetchOutcome, KeyPlace, KeyUrl, RemoteKeys};

/// Bytes of a document.
const MAX_BYTES: usize = 1 << 20;
/// Redirects that are followed.
const MAX_REDIRECTS: usize = 3;

/// A document.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) text: String,
    /// How long it is fresh by its own words.
    pub(super) fresh: Option<Duration>,
}

/// Why there is none.
#[derive(Debug)]
pub(super) struct Error {
    pub(super) outcome: FetchOutcome,
    pub(super) message: String,
}

impl Error {
    pub(super) fn new(outcome: FetchOutcome, message: impl fmt::Display) -> Self {
        Self { outcome, message: message.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What of the provider metadata matters here.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

/// Fetches the text of a key set.
pub(super) async fn fetch(source: &RemoteKeys, settings: &Settings) -> Result<Fetched, Error> {
    match &source.place {
        KeyPlace::Url(url) => in_time(url, source, settings).await,
        KeyPlace::Discovery(url) => {
            let found = in_time(url, source, settings).await?;
            let url = keys_url(&found.text, url, &source.issuer)?;
            in_time(&url, source, settings).await
        }
        KeyPlace::File(path) => read(path).await,
    }
}

/// Where a metadata document says that the keys are. It has to speak of the issuer that is
/// configured (section 4.3), and may not give up TLS.
fn keys_url(text: &str, from: &KeyUrl, issuer: &str) -> Result<KeyUrl, Error> {
    let wrong = |message: String| Error::new(FetchOutcome::Content, message);
    let metadata: Metadata = serde_json::from_str(text)
        .map_err(|error| wrong(format!("{from} is not provider metadata: {error}")))?;
    if metadata.issuer != issuer {
        return Err(wrong(format!("{from} speaks of issuer {:?}", metadata.issuer)));
    }
    let url = KeyUrl::parse(&metadata.jwks_uri)
        .map_err(|error| wrong(format!("jwks_uri of {from} {error}")))?;
    if from.is_secure() && !url.is_secure() {
        return Err(wrong(format!("jwks_uri of {from} is {url}, without TLS")));
    }
    Ok(url)
}

async fn read(path: &Path) -> Result<Fetched, Error> {
    let owned = path.to_owned();
    let failed = |error: &dyn fmt::Display| {
        Error::new(FetchOutcome::File, format!("{}: {error}", path.display()))
    };
    let reading = move || {
        let length = std::fs::metadata(&owned)?.len();
        if length > MAX_BYTES as u64 {
            return Err(std::io::Error::other(format!("larger than {MAX_BYTES} bytes")));
        }
        std::fs::read_to_string(&owned)
    };
    let read = tokio::task::spawn_blocking(reading).await.map_err(|error| failed(&error))?;
    let text = read.map_err(|error| failed(&error))?;
    Ok(Fetched { text, fresh: None })
}

async fn in_time(url: &KeyUrl, source: &RemoteKeys, settings: &Settings) -> Result<Fetched, Error> {
    let document = document(url.clone(), source, settings);
    tokio::time::timeout(source.timeout, document).await.unwrap_or_else(|_| {
        let message = format!("{url} did not answer within {:?}", source.timeout);
        Err(Error::new(FetchOutcome::Timeout, message))
    })
}

async fn document(
    mut url: KeyUrl,
    source: &RemoteKeys,
    settings: &Settings,
) -> Result<Fetched, Error> {
    for _ in 0..=MAX_REDIRECTS {
        let stream = connect(&url, &source.options, settings).await?;
        match exchange(&url, stream).await? {
            Answer::Document(fetched) => return Ok(fetched),
            Answer::Elsewhere(location) => {
                let refused = |message| Error::new(FetchOutcome::Redirect, message);
                let next = url
                    .join(&location)
                    .map_err(|error| refused(format!("{url} redirects; the target {error}")))?;
                if !next.has_origin_of(&url) {
                    return Err(refused(format!("{url} redirects to another host: {next}")));
                }
                url = next;
            }
        }
    }
    Err(Error::new(FetchOutcome::Redirect, format!("more than {MAX_REDIRECTS} redirects")))
}

enum Answer {
    Document(Fetched),
    Elsewhere(String),
}

/// Ends a connection's task with the exchange.
struct Connection(tokio::task::JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn exchange(url: &KeyUrl, stream: Stream) -> Result<Answer, Error> {
    let broken =
        |error: hyper::Error| Error::new(FetchOutcome::Protocol, format!("{url}: {error}"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let _connection = Connection(tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection for keys ended");
        }
    }));
    let request = Request::get(url.target())
        .header(HOST, url.authority())
        .header(USER_AGENT, concat!("gateway-daemon/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Error::new(FetchOutcome::Protocol, format!("{url}: {error}")))?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let (head, body) = response.into_parts();
    match head.status {
        StatusCode::OK => {
            let text = text(url, &head.headers, body).await?;
            Ok(Answer::Document(Fetched { text, fresh: schedule::freshness(&head.headers) }))
        }
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => {
            let location = head.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            Ok(Answer::Elsewhere(location.unwrap_or_default().to_owned()))
        }
        status => Err(Error::new(FetchOutcome::Status, format!("{url} answered {status}"))),
    }
}

async fn text(url: &KeyUrl, headers: &HeaderMap, body: Incoming) -> Result<String, Error> {
    if headers.contains_key(CONTENT_ENCODING) {
        let message = format!("{url} sent a content-encoding that was not asked for");
        return Err(Error::new(FetchOutcome::Content, message));
    }
    let collected = Limited::new(body, MAX_BYTES).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            let message = format!("{url} sent more than {MAX_BYTES} bytes");
            return Error::new(FetchOutcome::TooLarge, message);
        }
        Error::new(FetchOutcome::Protocol, format!("{url}: {error}"))
    })?;
    String::from_utf8(collected.to_bytes().into())
        .map_err(|_| Error::new(FetchOutcome::Content, format!("{url} sent no UTF-8")))
}
