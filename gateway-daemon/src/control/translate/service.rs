//! Service and EndpointSlice to [`Upstream`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::super::bundle::{Bundle, Loaded};
use super::super::conditions::{ConditionType, Draft, ObjectReport, Reason};
use super::super::path::FieldPath;
use crate::manifest::endpoint_slice::{AddressType, EndpointSlice};
use crate::manifest::service::{Service, ServicePort, ServiceType, TransportProtocol};
use crate::model::backend::{Upstream, UpstreamProtocol};

/// The label that ties a slice to its Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Namespace and name.
type Key = (Arc<str>, Arc<str>);

/// The ready endpoints of a slice, a port name at a time.
struct Slice {
    addresses: Vec<IpAddr>,
    ports: Vec<(String, u16)>,
}

/// The Services of a bundle with their endpoints.
pub(super) struct Services<'b> {
    by_name: HashMap<Key, &'b Loaded<Service>>,
    slices: HashMap<Key, Vec<Slice>>,
    /// So that every reference to a Service port shares one value.
    upstreams: RefCell<HashMap<(Key, u16), Arc<Upstream>>>,
}

impl<'b> Services<'b> {
    /// Of a bundle.
    pub(super) fn new(bundle: &'b Bundle, reports: &mut Vec<ObjectReport>) -> Self {
        let mut slices: HashMap<Key, Vec<Slice>> = HashMap::new();
        for loaded in &bundle.endpoint_slices {
            let mut draft = ObjectReport::open(loaded, None);
            let (name, slice) = (service_name(loaded, &mut draft), slice(loaded, &mut draft));
            if let Some(name) = name {
                let key = (Arc::clone(&loaded.object.namespace), name);
                slices.entry(key).or_default().push(slice);
            }
            reports.push(draft.finish(&[ConditionType::Accepted]));
        }
        let mut by_name = HashMap::new();
        for loaded in &bundle.services {
            let object = &loaded.object;
            let key = (Arc::clone(&object.namespace), Arc::clone(&object.name));
            let mut draft = ObjectReport::open(loaded, None);
            if slices.get(&key).is_none_or(|slices| slices.iter().all(|s| s.addresses.is_empty())) {
                draft.note("no EndpointSlice gives it a ready address: requests are answered 503");
            }
            by_name.insert(key, loaded);
            reports.push(draft.finish(&[ConditionType::Accepted]));
        }
        Self { by_name, slices, upstreams: RefCell::default() }
    }

    /// A Service port with its endpoints, or why there is none.
    pub(super) fn resolve(
        &self,
        namespace: &Arc<str>,
        name: &str,
        port: u16,
    ) -> Result<Arc<Upstream>, (Reason, String)> {
        let key: Key = (Arc::clone(namespace), name.into());
        let label = format!("Service {namespace}/{name}");
        let Some(service) = self.by_name.get(&key) else {
            return Err((Reason::BackendNotFound, format!("{label} is not there; add it")));
        };
        let spec = &service.manifest.spec;
        if spec.kind == Some(ServiceType::ExternalName) {
            let message = format!("{label} has type ExternalName, which is not supported");
            return Err((Reason::InvalidKind, message));
        }
        let Some(service_port) = spec.ports.iter().find(|p| p.port.0 == port) else {
            let ports: Vec<_> = spec.ports.iter().map(|p| p.port.0.to_string()).collect();
            let message = format!("{label} has no port {port}; it has {}", ports.join(", "));
            return Err((Reason::BackendNotFound, message));
        };
        let protocol = protocol(service_port)
            .map_err(|message| (Reason::UnsupportedProtocol, format!("{label}: {message}")))?;
        if let Some(upstream) = self.upstreams.borrow().get(&(key.clone(), port)) {
            return Ok(Arc::clone(upstream));
        }
        let upstream = Arc::new(Upstream {
            service: service.object.clone(),
            port,
            protocol,
            endpoints: self.endpoints(&key, &service_port.name),
        });
        self.upstreams.borrow_mut().insert((key, port), Arc::clone(&upstream));
        Ok(upstream)
    }

    fn endpoints(&self, key: &Key, port_name: &str) -> Vec<SocketAddr> {
        let mut endpoints: Vec<SocketAddr> = self
            .slices
            .get(key)
            .into_iter()
            .flatten()
            .flat_map(|slice| {
                let ports = slice.ports.iter().filter(|(name, _)| name == port_name);
                ports.flat_map(|(_, port)| {
                    slice.addresses.iter().map(|a| SocketAddr::new(*a, *port))
                })
            })
            .collect();
        // An address may stand in two slices while endpoints move between them.
        endpoints.sort();
        endpoints.dedup();
        endpoints
    }
}

/// What a Service port speaks (KEP-3726 names).
fn protocol(port: &ServicePort) -> Result<UpstreamProtocol, String> {
    if !matches!(port.protocol, None | Some(TransportProtocol::Tcp)) {
        return Err(format!("port {} is not TCP", port.port.0));
    }
    match port.app_protocol.as_deref() {
        None | Some("http" | "HTTP") => Ok(UpstreamProtocol::Http1),
        Some("kubernetes.io/h2c") => Ok(UpstreamProtocol::H2c),
        Some(other) => Err(format!(
            "appProtocol {other:?} of port {} is not supported yet; use http or kubernetes.io/h2c",
            port.port.0
        )),
    }
}

fn service_name(loaded: &Loaded<EndpointSlice>, draft: &mut Draft<'_>) -> Option<Arc<str>> {
    let name = loaded.manifest.metadata.labels.get(SERVICE_LABEL);
    if name.is_none() {
        let path = FieldPath::of("metadata.labels").name(SERVICE_LABEL);
        draft.refuse(Reason::Invalid, path, "is missing; it names the Service");
    }
    name.map(|name| name.as_str().into())
}

/// The usable part of a slice; an address that is none costs only itself.
fn slice(loaded: &Loaded<EndpointSlice>, draft: &mut Draft<'_>) -> Slice {
    let manifest = &loaded.manifest;
    let endpoints = FieldPath::of("endpoints");
    if manifest.endpoints.is_empty() {
        draft.refuse(Reason::NoAddresses, endpoints.clone(), "holds no endpoint");
    }
    let mut addresses = Vec::new();
    for (index, endpoint) in manifest.endpoints.iter().enumerate() {
        let list = endpoints.index(index).key("addresses");
        if endpoint.addresses.is_empty() {
            draft.refuse(Reason::NoAddresses, list.clone(), "holds no address");
        }
        for (position, text) in endpoint.addresses.iter().enumerate() {
            match text.parse::<IpAddr>() {
                Ok(ip) if ip.is_ipv4() == (manifest.address_type == AddressType::V4) => {
                    if endpoint.conditions.ready != Some(false) {
                        addresses.push(ip);
                    }
                }
                _ => {
                    let family = match manifest.address_type {
                        AddressType::V4 => "IPv4",
                        AddressType::V6 => "IPv6",
                    };
                    let message =
                        format!("{text:?} is not an {family} address, as addressType says");
                    draft.refuse(Reason::Invalid, list.index(position), message);
                }
            }
        }
    }
    let mut ports = Vec::new();
    for (index, port) in manifest.ports.iter().enumerate() {
        match port.port {
            _ if !matches!(port.protocol, None | Some(TransportProtocol::Tcp)) => {}
            Some(number) => ports.push((port.name.clone(), number.0)),
            None => {
                let path = FieldPath::of("ports").index(index).key("port");
                draft.refuse(Reason::Invalid, path, "is missing; \"all ports\" is not supported");
            }
        }
    }
    Slice { addresses, ports }
}
