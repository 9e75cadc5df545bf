//! Stage 2: TLS handshake, server name, ALPN, deadline.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::accept::Accepted;
use super::stream::Socket;
use super::worker::Worker;

/// A connection whose handshake is done.
pub(super) struct Session {
    pub(super) stream: TlsStream<Socket>,
    /// Whether the client chose HTTP/2.
    pub(super) h2: bool,
}

/// Shakes hands; none where that failed.
///
/// The certificate is chosen, and names that no listener has are refused, by the port's
/// `ServerConfig`, which `control/certs.rs` made.
pub(super) async fn shake(worker: &Rc<Worker>, accepted: &Accepted) -> Option<Session> {
    let config = accepted.port.tls.as_ref().map(Arc::clone)?;
    // Tickets, which follow the handshake, leave with the first answer.
    accepted.socket.hold(true);
    let handshake = TlsAcceptor::from(config).accept(accepted.socket.clone());
    let timeout = worker.limits().handshake_timeout;
    let stream = match tokio::time::timeout(timeout, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            debug!(client = %accepted.connection.meta().client(), %error, "TLS handshake failed");
            tell(accepted).await;
            return None;
        }
        Err(_) => {
            debug!(client = %accepted.connection.meta().client(), "TLS handshake timed out");
            return None;
        }
    };
    let (socket, session) = stream.get_ref();
    socket.hold(false);
    let h2 = session.alpn_protocol() == Some(b"h2");
    let sni = session.server_name().map(|name| name.to_ascii_lowercase().into());
    accepted.connection.set_sni(sni);
    accepted.connection.touch();
    Some(Session { stream, h2 })
}

/// Sends the alert that a failed handshake left behind.
async fn tell(accepted: &Accepted) {
    let mut socket = accepted.socket.clone();
    socket.hold(false);
    let told = tokio::time::timeout(Duration::from_secs(1), socket.flush()).await;
    if !matches!(told, Ok(Ok(()))) {
        debug!(client = %accepted.connection.meta().client(), "client did not take the alert");
    }
}
