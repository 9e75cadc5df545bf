//! Stage 2: TLS handshake, server name, ALPN, deadline.

use std::rc::Rc;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::accept::Accepted;
use super::http;
use super::worker::Worker;

/// Shakes hands and serves; false where the handshake failed.
///
/// The certificate is chosen, and names that no listener has are refused, by the port's
/// `ServerConfig`, which `control/certs.rs` made.
pub(super) async fn serve(worker: &Rc<Worker>, accepted: &Accepted) -> bool {
    let Some(config) = accepted.port.tls.as_ref().map(Arc::clone) else { return false };
    let handshake = TlsAcceptor::from(config).accept(accepted.socket.clone());
    let timeout = worker.limits().handshake_timeout;
    let stream = match tokio::time::timeout(timeout, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            debug!(client = %accepted.connection.meta().peer, %error, "TLS handshake failed");
            return false;
        }
        Err(_) => {
            debug!(client = %accepted.connection.meta().peer, "TLS handshake timed out");
            return false;
        }
    };
    let (_, session) = stream.get_ref();
    let h2 = session.alpn_protocol() == Some(b"h2");
    let sni = session.server_name().map(|name| name.to_ascii_lowercase().into());
    accepted.connection.set_sni(sni);
    accepted.connection.touch();
    http::serve_tls(worker, stream, &accepted.connection, h2).await;
    true
}
