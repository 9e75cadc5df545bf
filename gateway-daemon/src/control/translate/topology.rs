//! What stands in front of a Gateway: its annotation `proxy.istio.io/config`, which is Istio's, with
//! `gatewayTopology` in it. Everything else that such a configuration can say is refused.

use super::super::bundle::Loaded;
use super::super::conditions::{Draft, Reason};
use super::super::decode::decode;
use super::super::path::FieldPath;
use super::super::yaml;
use crate::manifest::gateway::Gateway;
use crate::manifest::proxy_config::ProxyConfig;
use crate::model::topology::Topology;

/// The annotation.
const PROXY_CONFIG: &str = "proxy.istio.io/config";

/// Where the annotation stands.
pub(super) fn field() -> FieldPath {
    FieldPath::of("metadata.annotations").name(PROXY_CONFIG)
}

/// What the annotation says; a broken one makes the Gateway refused.
pub(super) fn read(gateway: &Loaded<Gateway>, draft: &mut Draft<'_>) -> Topology {
    let annotations = &gateway.manifest.metadata.annotations;
    let Some(text) = annotations.get(PROXY_CONFIG) else { return Topology::default() };
    let mut wrong = |message: String| draft.refuse(Reason::Invalid, field(), message);
    let (documents, error) = yaml::read(text);
    if let Some(error) = error {
        wrong(format!("is no YAML: {error}"));
        return Topology::default();
    }
    let node = match &documents[..] {
        [] => return Topology::default(),
        [node] => node,
        _ => {
            wrong("holds several documents; it takes one ProxyConfig".to_owned());
            return Topology::default();
        }
    };
    match decode::<ProxyConfig>(node) {
        Ok(ProxyConfig { gateway_topology: Some(topology), .. }) => Topology {
            trusted_proxies: topology.num_trusted_proxies,
            proxy_protocol: topology.proxy_protocol.is_some(),
        },
        Ok(_) => Topology::default(),
        Err(errors) => {
            for error in errors {
                let place =
                    if error.path.is_root() { String::new() } else { format!("{}: ", error.path) };
                wrong(format!("{place}{}", error.message));
            }
            Topology::default()
        }
    }
}
