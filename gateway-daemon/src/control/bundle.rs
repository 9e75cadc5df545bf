//! One reading of all manifests: text to typed objects, with every fault on the way.
//!
//! Must not know: what an object means; that is `translate/`.

use std::collections::HashMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::decode::{alternatives, decode};
use super::fault::Fault;
use super::path::FieldPath;
use super::source::SourceFile;
use super::yaml::{self, Node, Value};
use crate::manifest::authorization_policy::AuthorizationPolicy;
use crate::manifest::endpoint_slice::EndpointSlice;
use crate::manifest::ext_authz_provider::ExtAuthzProvider;
use crate::manifest::gateway::Gateway;
use crate::manifest::gateway_class::GatewayClass;
use crate::manifest::http_route::HttpRoute;
use crate::manifest::jwt_policy::JwtPolicy;
use crate::manifest::namespace::Namespace;
use crate::manifest::reference_grant::ReferenceGrant;
use crate::manifest::request_authentication::RequestAuthentication;
use crate::manifest::secret::Secret;
use crate::manifest::service::Service;
use crate::model::object::ObjectRef;

/// Namespace of objects that name none.
const DEFAULT_NAMESPACE: &str = "default";

/// Kinds that manifests of an application commonly hold and that say nothing to a gateway.
pub const HARMLESS_KINDS: &[&str] = &[
    "ClusterRole",
    "ClusterRoleBinding",
    "ConfigMap",
    "CronJob",
    "CustomResourceDefinition",
    "DaemonSet",
    "Deployment",
    "Endpoints",
    "HorizontalPodAutoscaler",
    "Job",
    "Kustomization",
    "PersistentVolumeClaim",
    "Pod",
    "PodDisruptionBudget",
    "ReplicaSet",
    "Role",
    "RoleBinding",
    "ServiceAccount",
    "StatefulSet",
];

/// Where an object stands.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    file: Arc<str>,
    root: Arc<Node>,
}

impl Origin {
    /// The file.
    pub(super) fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// The line of a field.
    pub(super) fn line(&self, path: &FieldPath) -> usize {
        path.line(&self.root)
    }
}

/// An object with its place.
#[derive(Debug)]
pub(super) struct Loaded<T> {
    pub(super) object: ObjectRef,
    pub(super) origin: Origin,
    pub(super) manifest: T,
}

/// An object of a kind that is not looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IgnoredObject {
    /// File.
    pub file: Arc<str>,
    /// Line.
    pub line: usize,
    /// `Kind namespace/name`.
    pub object: String,
}

/// Every object of one reading, by kind, in order of namespace and name.
#[derive(Debug, Default)]
pub(super) struct Bundle {
    pub(super) gateway_classes: Vec<Loaded<GatewayClass>>,
    pub(super) gateways: Vec<Loaded<Gateway>>,
    pub(super) http_routes: Vec<Loaded<HttpRoute>>,
    pub(super) services: Vec<Loaded<Service>>,
    pub(super) endpoint_slices: Vec<Loaded<EndpointSlice>>,
    pub(super) namespaces: Vec<Loaded<Namespace>>,
    pub(super) secrets: Vec<Loaded<Secret>>,
    pub(super) reference_grants: Vec<Loaded<ReferenceGrant>>,
    pub(super) request_authentications: Vec<Loaded<RequestAuthentication>>,
    pub(super) authorization_policies: Vec<Loaded<AuthorizationPolicy>>,
    pub(super) jwt_policies: Vec<Loaded<JwtPolicy>>,
    pub(super) ext_authz_providers: Vec<Loaded<ExtAuthzProvider>>,
    pub(super) ignored: Vec<IgnoredObject>,
}

/// Reads objects from files. With faults the bundle holds what could be read.
pub(super) fn read(files: &[SourceFile], ignore_kinds: &[String]) -> (Bundle, Vec<Fault>) {
    let mut reader = Reader {
        ignore_kinds,
        bundle: Bundle::default(),
        faults: Vec::new(),
        seen: HashMap::new(),
    };
    for file in files {
        let (documents, error) = yaml::read(&file.text);
        for document in documents {
            reader.document(&file.name, document);
        }
        if let Some(error) = error {
            reader.faults.push(Fault {
                file: Arc::clone(&file.name),
                line: Some(error.line),
                object: None,
                path: FieldPath::default(),
                message: error.message,
            });
        }
    }
    reader.bundle.sort();
    (reader.bundle, reader.faults)
}

impl Bundle {
    /// So that the order of files and documents means nothing.
    fn sort(&mut self) {
        fn sort<T>(list: &mut [Loaded<T>]) {
            list.sort_by(|a, b| a.object.cmp(&b.object));
        }
        sort(&mut self.gateway_classes);
        sort(&mut self.gateways);
        sort(&mut self.http_routes);
        sort(&mut self.services);
        sort(&mut self.endpoint_slices);
        sort(&mut self.namespaces);
        sort(&mut self.secrets);
        sort(&mut self.reference_grants);
        sort(&mut self.request_authentications);
        sort(&mut self.authorization_policies);
        sort(&mut self.jwt_policies);
        sort(&mut self.ext_authz_providers);
    }
}

struct Reader<'i> {
    ignore_kinds: &'i [String],
    bundle: Bundle,
    faults: Vec<Fault>,
    seen: HashMap<ObjectRef, (Arc<str>, usize)>,
}

/// What a document says of itself before its kind is known.
struct Head {
    api_version: String,
    kind: String,
    namespace: Option<Arc<str>>,
    name: Option<Arc<str>>,
}

const GATEWAY_V1: &[&str] = &["gateway.networking.k8s.io/v1"];
const GRANT: &[&str] = &["gateway.networking.k8s.io/v1beta1", "gateway.networking.k8s.io/v1"];
const ISTIO: &[&str] = &["security.istio.io/v1", "security.istio.io/v1beta1"];
const OWN: &[&str] = &["policy.gateway.internal/v1alpha1"];
const CORE: &[&str] = &["v1"];
const DISCOVERY: &[&str] = &["discovery.k8s.io/v1"];

impl Reader<'_> {
    fn document(&mut self, file: &Arc<str>, node: Node) {
        let head = match head(&node) {
            Ok(head) => head,
            Err((path, message)) => {
                let origin = Origin { file: Arc::clone(file), root: Arc::new(node) };
                return self.fault(&origin, None, path, message);
            }
        };
        if head.kind == "List" && head.api_version == "v1" {
            return self.list(file, node);
        }
        let origin = Origin { file: Arc::clone(file), root: Arc::new(node) };
        let (api_versions, kind): (&[&str], _) = match head.kind.as_str() {
            "GatewayClass" => (GATEWAY_V1, "GatewayClass"),
            "Gateway" => (GATEWAY_V1, "Gateway"),
            "HTTPRoute" => (GATEWAY_V1, "HTTPRoute"),
            "ReferenceGrant" => (GRANT, "ReferenceGrant"),
            "RequestAuthentication" => (ISTIO, "RequestAuthentication"),
            "AuthorizationPolicy" => (ISTIO, "AuthorizationPolicy"),
            "JWTPolicy" => (OWN, "JWTPolicy"),
            "ExtAuthzProvider" => (OWN, "ExtAuthzProvider"),
            "Service" => (CORE, "Service"),
            "Secret" => (CORE, "Secret"),
            "Namespace" => (CORE, "Namespace"),
            "EndpointSlice" => (DISCOVERY, "EndpointSlice"),
            _ => return self.foreign(&origin, &head),
        };
        let Some(object) = self.object(&origin, kind, &head) else { return };
        if !api_versions.contains(&head.api_version.as_str()) {
            let message = format!(
                "{:?} is not an API version that is read here; use {}",
                head.api_version,
                alternatives(api_versions)
            );
            return self.fault(&origin, Some(object), FieldPath::of("apiVersion"), message);
        }
        match kind {
            "GatewayClass" => self.load(origin, object, |b| &mut b.gateway_classes),
            "Gateway" => self.load(origin, object, |b| &mut b.gateways),
            "HTTPRoute" => self.load(origin, object, |b| &mut b.http_routes),
            "ReferenceGrant" => self.load(origin, object, |b| &mut b.reference_grants),
            "RequestAuthentication" => {
                self.load(origin, object, |b| &mut b.request_authentications);
            }
            "AuthorizationPolicy" => self.load(origin, object, |b| &mut b.authorization_policies),
            "JWTPolicy" => self.load(origin, object, |b| &mut b.jwt_policies),
            "ExtAuthzProvider" => self.load(origin, object, |b| &mut b.ext_authz_providers),
            "Service" => self.load(origin, object, |b| &mut b.services),
            "Secret" => self.load(origin, object, |b| &mut b.secrets),
            "Namespace" => self.load(origin, object, |b| &mut b.namespaces),
            _ => self.load(origin, object, |b| &mut b.endpoint_slices),
        }
    }

    /// `kind: List`, as `kubectl get -o yaml` prints several objects.
    fn list(&mut self, file: &Arc<str>, node: Node) {
        let Value::Map(members) = node.value else { return };
        for member in members {
            match (&*member.key, member.node.value) {
                ("items", Value::List(items)) => {
                    for item in items {
                        self.document(file, item);
                    }
                }
                ("apiVersion" | "kind" | "metadata", _) => {}
                (key, value) => {
                    let message = format!("unknown field {key:?}; a List has items");
                    let root = Arc::new(Node { line: member.line, value });
                    let origin = Origin { file: Arc::clone(file), root };
                    self.fault(&origin, None, FieldPath::default(), message);
                }
            }
        }
    }

    /// The name of an object, if it has a good one and no other object has it.
    fn object(&mut self, origin: &Origin, kind: &'static str, head: &Head) -> Option<ObjectRef> {
        let cluster_scoped = matches!(kind, "Namespace" | "GatewayClass");
        let Some(name) = head.name.clone() else {
            let message = format!("{kind} without a name; give it one");
            self.fault(origin, None, FieldPath::of("metadata.name"), message);
            return None;
        };
        let namespace = match &head.namespace {
            _ if cluster_scoped => "".into(),
            Some(namespace) => Arc::clone(namespace),
            None => DEFAULT_NAMESPACE.into(),
        };
        let object = ObjectRef { kind, namespace, name };
        for (field, text) in [("name", &object.name), ("namespace", &object.namespace)] {
            let not_there = field == "namespace" && cluster_scoped;
            if !not_there && !is_dns_name(text) {
                let message = format!(
                    "{text:?} is not a Kubernetes name; use lower-case letters, digits, '-' and '.'"
                );
                let path = FieldPath::of("metadata").key(field);
                self.fault(origin, Some(object.clone()), path, message);
                return None;
            }
        }
        let line = origin.line(&FieldPath::default());
        if let Some((file, line)) =
            self.seen.insert(object.clone(), (Arc::clone(&origin.file), line))
        {
            let message = format!("is there twice; the other one is in {file}:{line}");
            self.fault(origin, Some(object), FieldPath::default(), message);
            return None;
        }
        Some(object)
    }

    fn load<T: DeserializeOwned>(
        &mut self,
        origin: Origin,
        object: ObjectRef,
        list: impl FnOnce(&mut Bundle) -> &mut Vec<Loaded<T>>,
    ) {
        match decode(&origin.root) {
            Ok(manifest) => {
                list(&mut self.bundle).push(Loaded { object, origin, manifest });
            }
            Err(errors) => self.faults.extend(errors.into_iter().map(|error| Fault {
                file: Arc::clone(&origin.file),
                line: Some(error.line),
                object: Some(object.clone()),
                path: error.path,
                message: error.message,
            })),
        }
    }

    /// A kind that we do not read: fine if listed, else a fault.
    fn foreign(&mut self, origin: &Origin, head: &Head) {
        let group = head.api_version.split_once('/').map_or("", |(group, _)| group);
        let listed = |entry: &str| match entry.split_once('.') {
            Some((kind, of_group)) => kind == head.kind && of_group == group,
            None => entry == head.kind,
        };
        if HARMLESS_KINDS.contains(&head.kind.as_str())
            || self.ignore_kinds.iter().any(|entry| listed(entry))
        {
            let namespace = head.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
            let name = head.name.as_deref().unwrap_or_default();
            self.bundle.ignored.push(IgnoredObject {
                file: Arc::clone(&origin.file),
                line: origin.line(&FieldPath::default()),
                object: format!("{} {namespace}/{name}", head.kind),
            });
            return;
        }
        let message = format!(
            "{:?} of {:?} is not a kind that the gateway reads; remove it, or pass \
             --ignore-kind {}",
            head.kind, head.api_version, head.kind
        );
        self.fault(origin, None, FieldPath::of("kind"), message);
    }

    fn fault(
        &mut self,
        origin: &Origin,
        object: Option<ObjectRef>,
        path: FieldPath,
        message: String,
    ) {
        self.faults.push(Fault {
            file: Arc::clone(&origin.file),
            line: Some(origin.line(&path)),
            object,
            path,
            message,
        });
    }
}

fn head(node: &Node) -> Result<Head, (FieldPath, String)> {
    let Value::Map(_) = node.value else {
        let message = "is not an object; expected apiVersion, kind and metadata".to_owned();
        return Err((FieldPath::default(), message));
    };
    let field = |name: &str| {
        node.get(name).and_then(Node::text).filter(|text| !text.is_empty()).ok_or_else(|| {
            (
                FieldPath::of(name),
                "is missing; every object says its apiVersion and kind".to_owned(),
            )
        })
    };
    let meta = |name: &str| {
        let text = node.get("metadata").and_then(|meta| meta.get(name)).and_then(Node::text);
        text.filter(|text| !text.is_empty()).map(Arc::from)
    };
    Ok(Head {
        api_version: field("apiVersion")?.to_owned(),
        kind: field("kind")?.to_owned(),
        namespace: meta("namespace"),
        name: meta("name"),
    })
}

/// RFC 1123 subdomain, as Kubernetes demands of names.
fn is_dns_name(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        })
}
