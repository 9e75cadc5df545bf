//! `v1 Service`.

use serde::Deserialize;

use super::{Ignored, Manifest, Port, words};

/// A Service.
pub(crate) type Service = Manifest<ServiceSpec>;

/// `spec`. What concerns kube-proxy and cloud load balancers is ignored.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ServiceSpec {
    #[serde(default)]
    pub(crate) ports: Vec<ServicePort>,
    #[serde(rename = "type")]
    pub(crate) kind: Option<ServiceType>,
    #[serde(rename = "internalTrafficPolicy")]
    _internal_traffic_policy: Option<InternalTrafficPolicy>,
    #[serde(rename = "sessionAffinity")]
    _session_affinity: Option<SessionAffinity>,
    #[serde(rename = "allocateLoadBalancerNodePorts")]
    _allocate_load_balancer_node_ports: Ignored,
    #[serde(rename = "clusterIP")]
    _cluster_ip: Ignored,
    #[serde(rename = "clusterIPs")]
    _cluster_ips: Ignored,
    #[serde(rename = "externalIPs")]
    _external_ips: Ignored,
    #[serde(rename = "externalName")]
    _external_name: Ignored,
    #[serde(rename = "externalTrafficPolicy")]
    _external_traffic_policy: Ignored,
    #[serde(rename = "healthCheckNodePort")]
    _health_check_node_port: Ignored,
    #[serde(rename = "ipFamilies")]
    _ip_families: Ignored,
    #[serde(rename = "ipFamilyPolicy")]
    _ip_family_policy: Ignored,
    #[serde(rename = "loadBalancerClass")]
    _load_balancer_class: Ignored,
    #[serde(rename = "loadBalancerIP")]
    _load_balancer_ip: Ignored,
    #[serde(rename = "loadBalancerSourceRanges")]
    _load_balancer_source_ranges: Ignored,
    #[serde(rename = "publishNotReadyAddresses")]
    _publish_not_ready_addresses: Ignored,
    #[serde(rename = "selector")]
    _selector: Ignored,
    #[serde(rename = "sessionAffinityConfig")]
    _session_affinity_config: Ignored,
    #[serde(rename = "trafficDistribution")]
    _traffic_distribution: Ignored,
}

words! {
    /// `spec.type`.
    ServiceType {
        "ClusterIP" => ClusterIp,
        "NodePort" => NodePort,
        "LoadBalancer" => LoadBalancer,
        "ExternalName" => ExternalName,
    }
    unsupported {}
}

words! {
    /// `spec.internalTrafficPolicy`.
    InternalTrafficPolicy { "Cluster" => Cluster, }
    unsupported { "Local" }
}

words! {
    /// `spec.sessionAffinity`.
    SessionAffinity { "None" => None, }
    unsupported { "ClientIP" }
}

/// `spec.ports[]`. The port of an endpoint comes from its EndpointSlice, so `targetPort` is not
/// looked at.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ServicePort {
    #[serde(default)]
    pub(crate) name: String,
    pub(crate) port: Port,
    pub(crate) protocol: Option<TransportProtocol>,
    pub(crate) app_protocol: Option<String>,
    #[serde(rename = "nodePort")]
    _node_port: Ignored,
    #[serde(rename = "targetPort")]
    _target_port: Ignored,
}

words! {
    /// `protocol` of a Service port or EndpointSlice port.
    TransportProtocol { "TCP" => Tcp, "UDP" => Udp, "SCTP" => Sctp, }
    unsupported {}
}
