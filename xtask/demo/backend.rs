//! The demo backend: two fixed resources, and an echo of whatever else is asked.
//!
//! It listens where the EndpointSlice of the quickstart says, on loopback, and speaks HTTP/1.1 with
//! keep-alive.

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context as _, Result};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Buf, Bytes};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};

/// 4,294 bytes.
const PRODUCT_PAGE: &[u8] = include_bytes!("productpage.html");
/// 195 bytes.
const PRODUCT: &[u8] = include_bytes!("product.json");

/// Where the EndpointSlice of the quickstart sends requests.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9080);
/// The listeners of the quickstart's Gateway.
const GATEWAY_PORTS: [u16; 2] = [8080, 8443];

/// Binds the backend's port, after making sure that the gateway's ports are free: the kernel half
/// would take their connections from whoever listens there.
pub(crate) fn bind() -> Result<TcpListener> {
    for port in GATEWAY_PORTS {
        for address in [
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
        ] {
            match TcpListener::bind(address) {
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                    return Err(taken(error, port, "the quickstart's Gateway listens there"));
                }
                // A machine without IPv6 is no obstacle.
                Ok(_) | Err(_) => {}
            }
        }
    }
    TcpListener::bind(ADDRESS)
        .map_err(|error| taken(error, ADDRESS.port(), "the demo backend listens there"))
}

fn taken(error: std::io::Error, port: u16, why: &str) -> anyhow::Error {
    anyhow::Error::new(error).context(format!(
        "port {port} is not free ({why}); find who holds it with `ss -ltnp 'sport = :{port}'`"
    ))
}

/// Answers until the process ends.
pub(crate) async fn serve(listener: TcpListener) -> Result<()> {
    listener.set_nonblocking(true).context("demo backend")?;
    let listener = tokio::net::TcpListener::from_std(listener).context("demo backend")?;
    loop {
        let Ok((connection, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: some will come back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        tokio::spawn(async move {
            let service =
                service_fn(|request| async { Ok::<_, Infallible>(answer(request).await) });
            let served = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(connection), service)
                .await;
            if let Err(error) = served {
                eprintln!("demo backend: {error}");
            }
        });
    }
}

async fn answer<B: Body + Unpin>(request: Request<B>) -> Response<Full<Bytes>> {
    match request.uri().path() {
        "/productpage" => {
            respond(StatusCode::OK, "text/html; charset=utf-8", Bytes::from_static(PRODUCT_PAGE))
        }
        "/api/v1/products/1" => {
            respond(StatusCode::OK, "application/json", Bytes::from_static(PRODUCT))
        }
        _ => echo(request).await,
    }
}

/// The request as it arrived here: what the gateway made of it.
async fn echo<B: Body + Unpin>(request: Request<B>) -> Response<Full<Bytes>> {
    let (head, mut body) = request.into_parts();
    let mut body_bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            let text = Bytes::from_static(b"the body ended early\n");
            return respond(StatusCode::BAD_REQUEST, "text/plain", text);
        };
        body_bytes += frame.data_ref().map_or(0, Buf::remaining);
    }
    // One line as text, several of one name as a list.
    let mut headers = Map::new();
    for name in head.headers.keys() {
        let lines = head.headers.get_all(name).iter();
        let mut lines: Vec<Value> =
            lines.map(|line| String::from_utf8_lossy(line.as_bytes()).into()).collect();
        let line = if lines.len() == 1 { lines.remove(0) } else { lines.into() };
        headers.insert(name.to_string(), line);
    }
    let echo = json!({
        "method": head.method.as_str(),
        "path": head.uri.path_and_query().map_or("", |path| path.as_str()),
        "headers": headers,
        "body_bytes": body_bytes,
    });
    respond(StatusCode::OK, "application/json", Bytes::from(format!("{echo:#}\n")))
}

fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(path: &str, body: &'static str) -> Response<Full<Bytes>> {
        let request = Request::post(path)
            .header("x-once", "c")
            .header("x-twice", "a")
            .header("x-twice", "b")
            .body(Full::new(Bytes::from_static(body.as_bytes())))
            .expect("a request");
        answer(request).await
    }

    async fn text(response: Response<Full<Bytes>>) -> String {
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        String::from_utf8(body.to_vec()).expect("text")
    }

    #[tokio::test]
    async fn the_two_resources_have_their_sizes() {
        for (path, bytes) in [("/productpage", 4294), ("/api/v1/products/1", 195)] {
            assert_eq!(text(ask(path, "").await).await.len(), bytes, "{path}");
        }
    }

    #[tokio::test]
    async fn anything_else_is_echoed() {
        let echo = text(ask("/a/b?c=d", "four").await).await;
        let echo: Value = serde_json::from_str(&echo).expect("JSON");
        assert_eq!(echo["method"], "POST");
        assert_eq!(echo["path"], "/a/b?c=d");
        assert_eq!(echo["headers"], json!({ "x-once": "c", "x-twice": ["a", "b"] }));
        assert_eq!(echo["body_bytes"], 4);
    }

    #[test]
    fn the_manifests_name_our_ports() {
        let gateway = include_str!("../../examples/quickstart/gateway.yaml");
        for port in GATEWAY_PORTS {
            assert!(gateway.contains(&format!("port: {port}\n")), "{port}");
        }
        let backend = include_str!("../../examples/quickstart/backend.yaml");
        assert!(backend.contains(&format!("port: {}\n", ADDRESS.port())));
        assert!(backend.contains(&format!("- {}\n", ADDRESS.ip())));
    }
}
