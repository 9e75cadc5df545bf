//! HAProxy, with its own converters for tokens, and its tree of exact strings for paths.

use std::ffi::OsString;

use anyhow::Result;

use super::Site;
use crate::material::ISSUER;

pub(super) fn command(site: &Site<'_>) -> Result<Vec<OsString>> {
    let mut paths = site.shape.protected().concat().join("\n");
    paths.push('\n');
    let paths = site.write("protected.txt", &paths)?;
    let file = |name: &str| site.material.path(name).display().to_string();
    let text = format!(
        "global
  nbthread 1
  maxconn 9000

defaults
  mode http
  option forwardfor
  http-reuse always
  timeout connect 10s
  timeout client 300s
  timeout server 300s
  timeout http-keep-alive 300s

frontend gateway
  bind {listen}:{port}
  bind {listen}:{tls_port} ssl crt {both} alpn h2,http/1.1
  acl has_token http_auth_bearer -m found
  acl is_protected path -f {paths}
  http-request deny deny_status 403 if is_protected !has_token
  http-request set-var(txn.alg) http_auth_bearer,jwt_header_query('$.alg') if has_token
  http-request set-var(txn.kid) http_auth_bearer,jwt_header_query('$.kid') if has_token
  http-request set-var(txn.iss) http_auth_bearer,jwt_payload_query('$.iss') if has_token
  http-request set-var(txn.exp) http_auth_bearer,jwt_payload_query('$.exp','int') if has_token
  http-request set-var(txn.now) date() if has_token
  acl is_rs256 var(txn.kid) -m str rs256
  acl is_es256 var(txn.kid) -m str es256
  http-request deny deny_status 401 if has_token !{{ var(txn.iss) -m str {ISSUER} }}
  http-request deny deny_status 401 if has_token {{ var(txn.exp),sub(txn.now) -m int lt 0 }}
  http-request deny deny_status 401 if has_token !is_rs256 !is_es256
  http-request deny deny_status 401 if is_rs256 !{{ var(txn.alg) -m str RS256 }}
  http-request deny deny_status 401 if is_es256 !{{ var(txn.alg) -m str ES256 }}
  http-request deny deny_status 401 if is_rs256 !{{ http_auth_bearer,jwt_verify(\"RS256\",\"{rs256}\") 1 }}
  http-request deny deny_status 401 if is_es256 !{{ http_auth_bearer,jwt_verify(\"ES256\",\"{es256}\") 1 }}
  http-request del-header authorization if has_token
  default_backend upstream

backend upstream
  server one {upstream} pool-max-conn -1
",
        listen = site.listen,
        port = site.port,
        tls_port = site.tls_port(),
        both = file("both.pem"),
        rs256 = file("rs256.pem"),
        es256 = file("es256.pem"),
        paths = paths.display(),
        upstream = site.upstream,
    );
    let path = site.write("haproxy.cfg", &text)?;
    Ok(["haproxy".into(), "-db".into(), "-f".into(), path.into_os_string()].to_vec())
}
