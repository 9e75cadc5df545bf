//! nginx: a plain reverse proxy, or one whose tokens are checked by `bearer.lua` with OpenSSL.

use std::ffi::OsString;

use anyhow::Result;

use super::Site;
use crate::material::ISSUER;

const BEARER: &str = include_str!("bearer.lua");
const MODULES: &str = "/usr/lib/nginx/modules";

pub(super) fn command(site: &Site<'_>, tokens: bool) -> Result<Vec<OsString>> {
    let folder = site.folder.display();
    let (mut load, mut start, mut access) = (String::new(), String::new(), "");
    if tokens {
        site.write("bearer.lua", BEARER)?;
        site.write("protected.txt", &site.shape.protected().concat().join("\n"))?;
        let keys = site.material.path("");
        load = format!(
            "load_module {MODULES}/ndk_http_module.so;\n\
             load_module {MODULES}/ngx_http_lua_module.so;\n"
        );
        start = format!(
            "  lua_package_path \"{folder}/?.lua;;\";\n  \
             init_by_lua_block {{ require(\"bearer\").init(\"{keys}\", \"{folder}/protected.txt\", \
             \"{ISSUER}\") }}\n",
            keys = keys.display()
        );
        access = "access_by_lua_block { require(\"bearer\").check() } ";
    }
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {folder}/{kind};\n"))
        .concat();
    let text = format!(
        "{load}daemon off;
worker_processes 1;
worker_rlimit_nofile 65536;
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{ worker_connections 16384; }}
http {{
{start}{temporary}  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 300s;
  upstream upstream {{
    server {upstream};
    keepalive 2048;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
  }}
  proxy_http_version 1.1;
  proxy_set_header Connection \"\";
  proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_buffer_size 16k;
  proxy_buffers 8 16k;
  proxy_busy_buffers_size 32k;
  proxy_max_temp_file_size 0;
  ssl_certificate {certificate};
  ssl_certificate_key {key};
  ssl_protocols TLSv1.2 TLSv1.3;
  server {{
    listen {listen}:{port} backlog=16384;
    listen {listen}:{tls_port} ssl http2 backlog=16384;
    location / {{ {access}proxy_pass http://upstream; }}
  }}
}}
",
        upstream = site.upstream,
        certificate = site.material.path("certificate.pem").display(),
        key = site.material.path("key.pem").display(),
        listen = site.listen,
        port = site.port,
        tls_port = site.tls_port(),
    );
    let path = site.write("nginx.conf", &text)?;
    let mut words: Vec<OsString> = vec!["nginx".into(), "-p".into()];
    words.push(site.folder.clone().into_os_string());
    words.extend(["-c".into(), path.into_os_string()]);
    Ok(words)
}
