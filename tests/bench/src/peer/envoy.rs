//! Envoy, with the filters that Istio makes of a RequestAuthentication and an AuthorizationPolicy
//! and no others: no access log, no statistics of Istio's, no tracing.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::Site;
use crate::material::ISSUER;

/// So that no limit of Envoy's own is in the way.
const UNLIMITED: u32 = u32::MAX;

pub(super) fn command(site: &Site<'_>, program: &Path, cache: usize) -> Result<Vec<OsString>> {
    let path = site.write("envoy.json", &bootstrap(site, cache)?.to_string())?;
    let mut words = vec![program.into(), "--config-path".into(), path.into_os_string()];
    let more = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"];
    words.extend(more.map(OsString::from));
    Ok(words)
}

fn bootstrap(site: &Site<'_>, cache: usize) -> Result<Value> {
    let manager = connection_manager(site, cache)?;
    let tls = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": [{
                    "certificate_chain": { "filename": site.material.path("certificate.pem") },
                    "private_key": { "filename": site.material.path("key.pem") },
                }],
            },
        },
    });
    let plain = json!({ "filters": [manager] });
    let mut secured = plain.clone();
    secured["transport_socket"] = tls;
    Ok(json!({
        "layered_runtime": { "layers": [{
            "name": "bench",
            "static_layer": { "overload": { "global_downstream_max_connections": 50_000 } },
        }] },
        "static_resources": {
            "listeners": [
                { "name": "http", "address": address(site.listen, site.port), "filter_chains": [plain] },
                { "name": "https", "address": address(site.listen, site.tls_port()),
                  "filter_chains": [secured] },
            ],
            "clusters": [cluster(site.upstream)],
        },
    }))
}

fn address(ip: IpAddr, port: u16) -> Value {
    json!({ "socket_address": { "address": ip, "port_value": port } })
}

fn cluster(upstream: SocketAddr) -> Value {
    let endpoint = json!({ "endpoint": { "address": address(upstream.ip(), upstream.port()) } });
    json!({
        "name": "upstream",
        "type": "STATIC",
        "circuit_breakers": { "thresholds": [{
            "max_connections": UNLIMITED, "max_pending_requests": UNLIMITED,
            "max_requests": UNLIMITED, "max_retries": UNLIMITED,
        }] },
        "load_assignment": {
            "cluster_name": "upstream",
            "endpoints": [{ "lb_endpoints": [endpoint] }],
        },
    })
}

fn connection_manager(site: &Site<'_>, cache: usize) -> Result<Value> {
    let route =
        json!({ "match": { "prefix": "/" }, "route": { "cluster": "upstream", "timeout": "0s" } });
    Ok(json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "bench",
            "use_remote_address": true,
            "normalize_path": true,
            "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
            "http_filters": [
                filter("jwt_authn", "jwt_authn.v3.JwtAuthentication", authentication(site, cache)?),
                filter("rbac", "rbac.v3.RBAC", authorization(site)),
                filter("router", "router.v3.Router", json!({})),
            ],
        },
    }))
}

fn filter(name: &str, kind: &str, mut config: Value) -> Value {
    config["@type"] = format!("type.googleapis.com/envoy.extensions.filters.http.{kind}").into();
    json!({ "name": format!("envoy.filters.http.{name}"), "typed_config": config })
}

/// Any token that is there must verify; none is well too.
fn authentication(site: &Site<'_>, cache: usize) -> Result<Value> {
    let mut provider = json!({
        "issuer": ISSUER,
        "forward": false,
        "payload_in_metadata": "payload",
        "normalize_payload_in_metadata": { "space_delimited_claims": ["scope", "permission"] },
        "local_jwks": { "inline_string": site.material.text("jwks.json")? },
    });
    if cache > 0 {
        provider["jwt_cache_config"] = json!({ "jwt_cache_size": cache });
    }
    let either = json!([{ "provider_name": "issuer" }, { "allow_missing": {} }]);
    Ok(json!({
        "bypass_cors_preflight": true,
        "providers": { "issuer": provider },
        "rules": [{
            "match": { "prefix": "/" },
            "requires": { "requires_any": { "requirements": either } },
        }],
    }))
}

/// Denies each protected path to whoever has no principal.
fn authorization(site: &Site<'_>) -> Value {
    let claim = |name: &str| {
        json!({ "metadata": {
            "filter": "envoy.filters.http.jwt_authn",
            "path": [{ "key": "payload" }, { "key": name }],
            "value": { "string_match": { "safe_regex": { "regex": ".+" } } },
        } })
    };
    let principal = json!({ "and_ids": { "ids": [claim("iss"), claim("sub")] } });
    let nobody = json!({ "and_ids": { "ids": [
        { "not_id": { "or_ids": { "ids": [principal] } } },
    ] } });
    let policy = |path: &String| {
        let exact = json!({ "url_path": { "path": { "exact": path } } });
        json!({
            "permissions": [{ "and_rules": { "rules": [{ "or_rules": { "rules": [exact] } }] } }],
            "principals": [nobody],
        })
    };
    let paths = site.shape.protected().concat();
    let policies: serde_json::Map<String, Value> = paths
        .iter()
        .enumerate()
        .map(|(at, path)| (format!("ns[bench]-policy[needs-token]-rule[{at}]"), policy(path)))
        .collect();
    json!({ "rules": { "action": "DENY", "policies": policies } })
}
