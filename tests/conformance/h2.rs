//! The corpus over HTTP/2 with prior knowledge: every request that HTTP/2 can say.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::Bytes;
use gateway_tests::corpus::{self, Case, Request};
use gateway_tests::origin::Origin;
use gateway_tests::raw::{Response, bytes};
use http::{HeaderName, HeaderValue, Method, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpSocket, TcpStream};

use crate::{Score, start};

/// Replays the requests of a case.
pub(crate) fn replay(case: &Case, origin: &Origin, score: &mut Score) -> Result<()> {
    let (daemon, gateway) = start(case, origin)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for request in &case.requests {
        let Some(sent) = express(request, gateway.port()) else {
            score.inexpressible += 1;
            continue;
        };
        origin.take();
        let response = runtime.block_on(send(request, sent, gateway));
        let differences = match response {
            Ok(response) => corpus::compare(case, request, &response, &origin.take()),
            Err(error) => vec![format!("{error:#}")],
        };
        score.note(case, request, differences);
    }
    drop(daemon);
    Ok(())
}

/// The request in HTTP/2; none where it is about what HTTP/2 has not: connection-specific headers
/// (RFC 9113 8.2.2), other versions, absolute-form, several or no Hosts, bytes that no frame may
/// carry, or malformed HTTP/1.
fn express(request: &Request, port: u16) -> Option<http::Request<Full<Bytes>>> {
    const SPECIFIC: [&str; 7] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
        "te",
        "content-length",
    ];
    let fill = |text: &str| text.replace("@PORT@", &port.to_string());
    if request.version.is_some() || request.expect.status == 400 || request.target.contains('#') {
        return None;
    }
    let method = Method::from_bytes(request.method.as_bytes()).ok()?;
    let mut hosts = request.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("host"));
    let (host, None) = (hosts.next()?.1.clone()?, hosts.next()) else { return None };
    let target = request.target.starts_with('/').then(|| fill(&request.target))?;
    let uri: Uri = format!("http://{}{target}", fill(&host)).parse().ok()?;
    // What the client library would have changed cannot be said with it.
    if uri.path_and_query()?.as_str() != target || uri.authority()?.as_str() != fill(&host) {
        return None;
    }
    let body = bytes(request.body.as_deref().unwrap_or_default());
    let mut sent = http::Request::new(Full::new(Bytes::from(body)));
    *sent.method_mut() = method;
    *sent.uri_mut() = uri;
    for (name, value) in &request.headers {
        let lower = name.to_ascii_lowercase();
        if SPECIFIC.contains(&lower.as_str()) {
            return None;
        }
        if lower != "host" {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            let value = bytes(&fill(value.as_deref().unwrap_or_default()));
            let value = HeaderValue::from_bytes(value.trim_ascii()).ok()?;
            sent.headers_mut().append(name, value);
        }
    }
    Some(sent)
}

async fn send(
    request: &Request,
    sent: http::Request<Full<Bytes>>,
    gateway: SocketAddr,
) -> Result<Response> {
    let stream = match &request.client_ip {
        None => TcpStream::connect(gateway).await?,
        Some(from) => {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(from.parse()?, 0))?;
            socket.connect(gateway).await?
        }
    };
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(sent).await.context("no response")?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.context("no body")?.to_bytes();
    let latin1 = |bytes: &[u8]| bytes.iter().map(|&byte| char::from(byte)).collect::<String>();
    let headers = parts.headers.iter();
    Ok(Response {
        status: parts.status.as_u16(),
        headers: headers.map(|(n, v)| (n.to_string(), latin1(v.as_bytes()))).collect(),
        body: latin1(&body),
    })
}
