//! Gateway to [`Listener`]s.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::super::bundle::{Bundle, Loaded};
use super::super::conditions::{ConditionType, Draft, ObjectReport, Reason};
use super::super::path::FieldPath;
use super::reference::{GATEWAY_GROUP, Grants, Target, namespace_of, not_permitted};
use super::secret::Certificates;
use super::{GatewayModel, Model, listener_ports, topology};
use crate::manifest::gateway::Listener as WireListener;
use crate::manifest::gateway::{
    FromNamespaces, Gateway, Protocol as WireProtocol, RouteNamespaces,
};
use crate::model::listener::{
    Certificate, GatewayIndex, Hostname, Listener, ListenerIndex, Protocol,
};
use crate::model::port_range::PortRange;
use crate::model::refusal::Refusals;

/// Labels that Istio gives the workload of a Gateway.
const NAME_LABEL: &str = "gateway.networking.k8s.io/gateway-name";
pub(super) const CLASS_LABEL: &str = "gateway.networking.k8s.io/gateway-class-name";

/// What routes need to know of a listener to attach to it.
pub(super) struct Attachable<'b> {
    /// Its number in the model; none: it is not accepted.
    pub(super) index: Option<ListenerIndex>,
    pub(super) name: &'b str,
    pub(super) ports: PortRange,
    pub(super) hostname: Option<Hostname>,
    pub(super) takes_http_routes: bool,
    pub(super) namespaces: &'b RouteNamespaces,
}

/// Listeners by the namespace and name of their Gateway.
pub(super) type Attachables<'b> = HashMap<(Arc<str>, Arc<str>), Vec<Attachable<'b>>>;

/// Adds Gateways and their listeners to the model.
pub(super) fn translate<'b>(
    bundle: &'b Bundle,
    certificates: &Certificates,
    grants: &Grants<'_>,
    model: &mut Model,
    reports: &mut Vec<ObjectReport>,
) -> Attachables<'b> {
    // Where two listeners contradict each other, the older Gateway's stays.
    let mut gateways: Vec<&Loaded<Gateway>> = bundle.gateways.iter().collect();
    gateways.sort_by_key(|gateway| {
        let created = gateway.manifest.metadata.creation_timestamp.as_deref();
        (created.is_none(), created, &gateway.object)
    });
    let mut attachables = HashMap::new();
    for gateway in gateways {
        let mut translator = Translator { gateway, certificates, grants, model, reports };
        let object = &gateway.object;
        let key = (Arc::clone(&object.namespace), Arc::clone(&object.name));
        attachables.insert(key, translator.gateway());
    }
    attachables
}

struct Translator<'b, 't> {
    gateway: &'b Loaded<Gateway>,
    certificates: &'t Certificates,
    grants: &'t Grants<'t>,
    model: &'t mut Model,
    reports: &'t mut Vec<ObjectReport>,
}

impl<'b> Translator<'b, '_> {
    fn gateway(&mut self) -> Vec<Attachable<'b>> {
        let spec = &self.gateway.manifest.spec;
        let gateway_index = GatewayIndex(self.model.gateways.len());
        let mut draft = ObjectReport::open(self.gateway, None);
        let topology = topology::read(self.gateway, &mut draft);
        self.model.gateways.push(GatewayModel {
            object: self.gateway.object.clone(),
            labels: workload_labels(self.gateway),
            jwt_rules: Vec::new(),
            ignore_token_paths: Vec::new(),
            refusals: Refusals::default(),
            topology,
            policies: Vec::new(),
        });
        listener_ports::check(self.gateway, &mut draft);
        let addresses = addresses(self.gateway, &mut draft);
        let mut attachables = Vec::new();
        for (position, wire) in spec.listeners.iter().enumerate() {
            let earlier = &spec.listeners[..position];
            let attachable = match &addresses {
                Some(addresses) => self.listener(wire, position, earlier, gateway_index, addresses),
                // The Gateway's own report says what is wrong.
                None => Attachable { index: None, ..attachable(wire) },
            };
            attachables.push(attachable);
        }
        if draft.is_good(ConditionType::Accepted) && attachables.iter().all(|a| a.index.is_none()) {
            let message = "none of its listeners is valid";
            draft.refuse(Reason::ListenersNotValid, FieldPath::of("spec.listeners"), message);
        }
        not_programmed(&mut draft);
        self.reports.push(draft.finish(&[ConditionType::Accepted, ConditionType::Programmed]));
        attachables
    }

    fn listener(
        &mut self,
        wire: &'b WireListener,
        position: usize,
        earlier: &[WireListener],
        gateway_index: GatewayIndex,
        addresses: &[IpAddr],
    ) -> Attachable<'b> {
        let part = format!("listener {}", wire.name);
        let mut draft = ObjectReport::open(self.gateway, Some(part.into()));
        let path = FieldPath::of("spec.listeners").index(position);
        if wire.name.is_empty() || earlier.iter().any(|other| other.name == wire.name) {
            let message = "the name is empty or another listener's; every listener needs its own";
            draft.refuse(Reason::Invalid, path.key("name"), message);
        }
        let hostname = hostname(wire, &path, &mut draft);
        let certificates = self.certificates(wire, &path, &mut draft);
        let takes_http_routes = takes_http_routes(wire, &path, &mut draft);
        if wire.allowed_routes.namespaces.from == Some(FromNamespaces::Selector)
            && wire.allowed_routes.namespaces.selector.is_none()
        {
            let path = path.key("allowedRoutes.namespaces.selector");
            draft.refuse(Reason::Invalid, path, "is missing; from: Selector needs it");
        }
        let protocol = match wire.protocol {
            WireProtocol::Http => Protocol::Http,
            WireProtocol::Https => Protocol::Https,
        };
        let ports = listener_ports::read(self.gateway, wire, &path, &mut draft);
        let listener = Listener {
            gateway: self.gateway.object.clone(),
            gateway_index,
            name: wire.name.as_str().into(),
            ports,
            protocol,
            hostname: hostname.clone(),
            certificates,
            addresses: addresses.to_vec(),
            proxy_protocol: self.model.gateways[gateway_index.0].topology.proxy_protocol,
        };
        listener_ports::conflicts(&listener, &self.model.listeners, &path, &mut draft);
        let lacks_certificate = protocol == Protocol::Https && listener.certificates.is_empty();
        let accepted = draft.is_good(ConditionType::Accepted)
            && draft.is_good(ConditionType::Conflicted)
            && !lacks_certificate;
        let index = accepted.then_some(ListenerIndex(self.model.listeners.len()));
        if accepted {
            self.model.listeners.push(listener);
        } else {
            let message = "the listener is not served; see its other conditions";
            draft.problem(ConditionType::Programmed, Reason::Invalid, path, message);
        }
        self.reports.push(draft.finish(&[
            ConditionType::Accepted,
            ConditionType::ResolvedRefs,
            ConditionType::Conflicted,
            ConditionType::Programmed,
        ]));
        Attachable { index, ports, hostname, takes_http_routes, ..attachable(wire) }
    }

    fn certificates(
        &self,
        wire: &WireListener,
        path: &FieldPath,
        draft: &mut Draft<'_>,
    ) -> Vec<Certificate> {
        let tls = match (&wire.tls, wire.protocol) {
            (None, WireProtocol::Http) => return Vec::new(),
            (Some(_), WireProtocol::Http) => {
                let message = "a listener of protocol HTTP has no TLS; remove it or use HTTPS";
                draft.refuse(Reason::Invalid, path.key("tls"), message);
                return Vec::new();
            }
            (None, WireProtocol::Https) => {
                let message = "is missing; HTTPS needs tls.certificateRefs";
                draft.unresolved(Reason::InvalidCertificateRef, path.key("tls"), message);
                return Vec::new();
            }
            (Some(tls), WireProtocol::Https) => tls,
        };
        let list = path.key("tls.certificateRefs");
        if tls.certificate_refs.is_empty() {
            let message = "is empty; HTTPS needs a Secret";
            draft.unresolved(Reason::InvalidCertificateRef, list.clone(), message);
        }
        let holder = &self.gateway.object.namespace;
        let mut certificates = Vec::new();
        for (index, reference) in tls.certificate_refs.iter().enumerate() {
            let path = list.index(index);
            let kind = reference.kind.as_deref().unwrap_or("Secret");
            if !reference.group.is_empty() || kind != "Secret" {
                let message = format!("kind {kind:?} cannot hold a certificate; use a Secret");
                draft.unresolved(Reason::InvalidCertificateRef, path.key("kind"), message);
                continue;
            }
            let namespace = namespace_of(reference.namespace.as_deref(), holder);
            let target = Target { kind: "Secret", namespace: &namespace, name: &reference.name };
            if !self.grants.permit("Gateway", holder, &target) {
                let message = not_permitted("a Gateway", holder, &target);
                draft.unresolved(Reason::RefNotPermitted, path.key("namespace"), message);
                continue;
            }
            match self.certificates.find(&namespace, &reference.name) {
                Ok(certificate) => certificates.push(certificate.clone()),
                Err(message) => {
                    draft.unresolved(Reason::InvalidCertificateRef, path.key("name"), message);
                }
            }
        }
        certificates
    }
}

fn attachable(wire: &WireListener) -> Attachable<'_> {
    Attachable {
        index: None,
        name: &wire.name,
        ports: PortRange::one(wire.port.0),
        hostname: None,
        takes_http_routes: true,
        namespaces: &wire.allowed_routes.namespaces,
    }
}

fn not_programmed(draft: &mut Draft<'_>) {
    if !draft.is_good(ConditionType::Accepted) {
        let message = "the Gateway is not served; see its other conditions";
        let path = FieldPath::default();
        draft.problem(ConditionType::Programmed, Reason::Invalid, path, message);
    }
}

/// Labels of the workload that Istio would run for this Gateway: policies select by them.
fn workload_labels(gateway: &Loaded<Gateway>) -> BTreeMap<String, String> {
    let spec = &gateway.manifest.spec;
    let mut labels = spec.infrastructure.as_ref().map(|i| i.labels.clone()).unwrap_or_default();
    labels.insert(NAME_LABEL.to_owned(), gateway.object.name.to_string());
    labels.insert(CLASS_LABEL.to_owned(), spec.gateway_class_name.clone());
    labels
}

/// `spec.addresses`; none if one of them cannot be used.
fn addresses(gateway: &Loaded<Gateway>, draft: &mut Draft<'_>) -> Option<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for (index, address) in gateway.manifest.spec.addresses.iter().enumerate() {
        let path = FieldPath::of("spec.addresses").index(index);
        let kind = address.kind.as_deref().unwrap_or("IPAddress");
        if kind != "IPAddress" {
            let message = format!("type {kind:?} is not supported; use IPAddress");
            draft.refuse(Reason::UnsupportedAddress, path.key("type"), message);
            continue;
        }
        match address.value.as_deref().unwrap_or_default().parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() => {
                let message = "stands for every address; leave spec.addresses out for that";
                draft.refuse(Reason::UnsupportedAddress, path.key("value"), message);
            }
            Ok(ip) => addresses.push(ip),
            Err(_) => {
                let message = "is not an IP address";
                draft.refuse(Reason::UnsupportedAddress, path.key("value"), message);
            }
        }
    }
    addresses.sort();
    addresses.dedup();
    draft.is_good(ConditionType::Accepted).then_some(addresses)
}

fn hostname(wire: &WireListener, path: &FieldPath, draft: &mut Draft<'_>) -> Option<Hostname> {
    let text = wire.hostname.as_deref().filter(|text| !text.is_empty())?;
    Hostname::parse(text)
        .map_err(|error| draft.refuse(Reason::Invalid, path.key("hostname"), error.to_string()))
        .ok()
}

fn takes_http_routes(wire: &WireListener, path: &FieldPath, draft: &mut Draft<'_>) -> bool {
    let kinds = &wire.allowed_routes.kinds;
    let list = path.key("allowedRoutes.kinds");
    let mut takes = kinds.is_empty();
    for (index, kind) in kinds.iter().enumerate() {
        let group = kind.group.as_deref().unwrap_or(GATEWAY_GROUP);
        if group == GATEWAY_GROUP && kind.kind == "HTTPRoute" {
            takes = true;
        } else {
            let message =
                format!("kind {:?} of {group:?} is not supported; use HTTPRoute", kind.kind);
            draft.unresolved(Reason::InvalidRouteKinds, list.index(index), message);
        }
    }
    takes
}
