//! Istio's `ProxyConfig` (`istio.mesh.v1alpha1`), as far as a Gateway's annotation
//! `proxy.istio.io/config` may hold it.

use serde::Deserialize;

use super::Unsupported;

/// `ProxyConfig`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ProxyConfig {
    pub(crate) gateway_topology: Option<GatewayTopology>,
    #[serde(rename = "binaryPath")]
    _binary_path: Option<Unsupported>,
    #[serde(rename = "caCertificatesPem")]
    _ca_certificates_pem: Option<Unsupported>,
    #[serde(rename = "concurrency")]
    _concurrency: Option<Unsupported>,
    #[serde(rename = "configPath")]
    _config_path: Option<Unsupported>,
    #[serde(rename = "controlPlaneAuthPolicy")]
    _control_plane_auth_policy: Option<Unsupported>,
    #[serde(rename = "customConfigFile")]
    _custom_config_file: Option<Unsupported>,
    #[serde(rename = "discoveryAddress")]
    _discovery_address: Option<Unsupported>,
    #[serde(rename = "drainDuration")]
    _drain_duration: Option<Unsupported>,
    #[serde(rename = "envoyAccessLogService")]
    _envoy_access_log_service: Option<Unsupported>,
    #[serde(rename = "envoyMetricsService")]
    _envoy_metrics_service: Option<Unsupported>,
    #[serde(rename = "extraStatTags")]
    _extra_stat_tags: Option<Unsupported>,
    #[serde(rename = "fileFlushInterval")]
    _file_flush_interval: Option<Unsupported>,
    #[serde(rename = "fileFlushMinSizeKb")]
    _file_flush_min_size_kb: Option<Unsupported>,
    #[serde(rename = "holdApplicationUntilProxyStarts")]
    _hold_application_until_proxy_starts: Option<Unsupported>,
    #[serde(rename = "image")]
    _image: Option<Unsupported>,
    #[serde(rename = "interceptionMode")]
    _interception_mode: Option<Unsupported>,
    #[serde(rename = "meshId")]
    _mesh_id: Option<Unsupported>,
    #[serde(rename = "privateKeyProvider")]
    _private_key_provider: Option<Unsupported>,
    #[serde(rename = "proxyAdminPort")]
    _proxy_admin_port: Option<Unsupported>,
    #[serde(rename = "proxyBootstrapTemplatePath")]
    _proxy_bootstrap_template_path: Option<Unsupported>,
    #[serde(rename = "proxyHeaders")]
    _proxy_headers: Option<Unsupported>,
    #[serde(rename = "proxyMetadata")]
    _proxy_metadata: Option<Unsupported>,
    #[serde(rename = "proxyStatsMatcher")]
    _proxy_stats_matcher: Option<Unsupported>,
    #[serde(rename = "readinessProbe")]
    _readiness_probe: Option<Unsupported>,
    #[serde(rename = "runtimeValues")]
    _runtime_values: Option<Unsupported>,
    #[serde(rename = "serviceCluster")]
    _service_cluster: Option<Unsupported>,
    #[serde(rename = "statNameLength")]
    _stat_name_length: Option<Unsupported>,
    #[serde(rename = "statsCompression")]
    _stats_compression: Option<Unsupported>,
    #[serde(rename = "statsdUdpAddress")]
    _statsd_udp_address: Option<Unsupported>,
    #[serde(rename = "statusPort")]
    _status_port: Option<Unsupported>,
    #[serde(rename = "terminationDrainDuration")]
    _termination_drain_duration: Option<Unsupported>,
    #[serde(rename = "tracing")]
    _tracing: Option<Unsupported>,
    #[serde(rename = "tracingServiceName")]
    _tracing_service_name: Option<Unsupported>,
}

/// `gatewayTopology`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct GatewayTopology {
    #[serde(default)]
    pub(crate) num_trusted_proxies: u32,
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
    #[serde(rename = "forwardClientCertDetails")]
    _forward_client_cert_details: Option<Unsupported>,
}

/// `gatewayTopology.proxyProtocol`: that it is there is all that it says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProxyProtocol {}
