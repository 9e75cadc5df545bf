//! Handshakes in memory: which name gets which certificate, and who is refused.

use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};

use super::*;
use crate::model::listener::{Certificate, GatewayIndex, Protocol};
use crate::model::object::ObjectRef;

/// A listener whose certificates are for `names`, and what to trust.
fn listener(hostname: Option<&str>, names: &[&[&str]], roots: &mut RootCertStore) -> Listener {
    let object = |kind| ObjectRef { kind, namespace: "shop".into(), name: "x".into() };
    let certificates = names.iter().map(|names| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        roots.add(made.cert.der().clone()).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = aws_lc_rs::default_provider();
        let key = CertifiedKey::from_der(vec![made.cert.der().clone()], key, &provider).unwrap();
        Certificate { secret: object("Secret"), key: Arc::new(key) }
    });
    Listener {
        gateway: object("Gateway"),
        gateway_index: GatewayIndex(0),
        name: "https".into(),
        ports: 443.into(),
        protocol: Protocol::Https,
        hostname: hostname.map(|name| Hostname::parse(name).unwrap()),
        certificates: certificates.collect(),
        addresses: Vec::new(),
        proxy_protocol: false,
    }
}

fn client_config(roots: RootCertStore) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// What came of a handshake: the client's end, or the error of either end.
fn handshake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    name: &str,
) -> Result<ClientConnection, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name)?;
    let mut server = ServerConnection::new(Arc::clone(server))?;
    let mut wire = Vec::new();
    // Two round trips and the tickets after them.
    for _ in 0..4 {
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut std::mem::take(&mut wire).as_slice()).unwrap();
        server.process_new_packets()?;
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client.read_tls(&mut std::mem::take(&mut wire).as_slice()).unwrap();
        client.process_new_packets()?;
    }
    assert!(!client.is_handshaking());
    Ok(client)
}

#[test]
fn the_server_name_chooses_the_certificate() {
    let mut roots = RootCertStore::empty();
    let exact = listener(Some("www.a.test"), &[&["www.a.test"]], &mut roots);
    let wildcard = listener(Some("*.a.test"), &[&["*.a.test"]], &mut roots);
    let every = listener(None, &[&["fallback.test", "192.0.2.1"]], &mut roots);
    let tls = TlsBuilder::new().unwrap();
    let all = tls.build(&[&exact, &wildcard, &every]).unwrap();
    let named = tls.build(&[&exact, &wildcard]).unwrap();
    let client = Arc::new(client_config(roots));
    // A client that verifies the name proves which certificate it got. An IP address is not sent.
    let rows = [
        ("exact", &all, "www.a.test", true),
        ("exact, other case", &all, "WWW.A.TEST", true),
        ("wildcard", &all, "api.a.test", true),
        ("no such listener, with fallback", &all, "fallback.test", true),
        ("no server name, with fallback", &all, "192.0.2.1", true),
        ("no such listener", &named, "fallback.test", false),
        ("no server name", &named, "192.0.2.1", false),
        ("the bare suffix is not under the wildcard", &named, "a.test", false),
    ];
    for (row, server, name, good) in rows {
        let result = handshake(&client, server, name);
        assert_eq!(result.is_ok(), good, "{row}: {:?}", result.err());
    }
}

#[test]
fn alpn_prefers_h2_and_sessions_survive_a_reload() {
    let mut roots = RootCertStore::empty();
    let listener = listener(None, &[&["a.test"]], &mut roots);
    let tls = TlsBuilder::new().unwrap();
    let (before, after) = (tls.build(&[&listener]).unwrap(), tls.build(&[&listener]).unwrap());
    let client = Arc::new(client_config(roots));
    let first = handshake(&client, &before, "a.test").unwrap();
    assert_eq!(first.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(first.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(first.handshake_kind(), Some(rustls::HandshakeKind::Full));
    let second = handshake(&client, &after, "a.test").unwrap();
    assert_eq!(second.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
}

#[test]
fn tls_1_2_is_spoken_too() {
    let mut roots = RootCertStore::empty();
    let listener = listener(None, &[&["a.test"]], &mut roots);
    let server = TlsBuilder::new().unwrap().build(&[&listener]).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = handshake(&Arc::new(client), &server, "a.test").unwrap();
    assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
}

#[test]
fn one_listener_may_have_a_certificate_per_name() {
    let mut roots = RootCertStore::empty();
    let listener = listener(None, &[&["a.test"], &["b.test"]], &mut roots);
    let server = TlsBuilder::new().unwrap().build(&[&listener]).unwrap();
    let client = Arc::new(client_config(roots));
    for name in ["a.test", "b.test"] {
        assert!(handshake(&client, &server, name).is_ok(), "{name}");
    }
}
