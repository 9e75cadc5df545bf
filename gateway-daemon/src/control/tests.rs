//! Every manifest of the shared corpus and of the benchmark reads and translates; and the loop.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;

use gateway_common::path::PathSlot;

use super::source::SourceFile;
use super::*;

/// A listening port for `@PORT@` and friends; nothing listens.
const PORT: &str = "18080";

/// A folder beside the project, or none with a word about it. In CI it has to be there.
fn shared(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(folder);
    if path.is_dir() {
        return Some(path);
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "what CI has to have is no setting of the daemon"
    )]
    let ci = std::env::var_os("CI").is_some();
    assert!(!ci, "{} is not there", path.display());
    eprintln!("{} is not there; its manifests are not read", path.display());
    None
}

fn texts(files: &[(&str, &str)]) -> Vec<SourceFile> {
    files
        .iter()
        .map(|(name, text)| SourceFile { name: (*name).into(), text: (*text).to_owned() })
        .collect()
}

const BASE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: ingress, namespace: default }
spec:
  gatewayClassName: default
  listeners:
  - { name: http, port: 18080, protocol: HTTP }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: all, namespace: default }
spec:
  parentRefs: [ { name: ingress } ]
  rules:
  - backendRefs: [ { name: echo, port: 8000 } ]
---
apiVersion: v1
kind: Service
metadata: { name: echo, namespace: default }
spec:
  ports: [ { name: http, port: 8000 } ]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: echo-1, namespace: default, labels: { kubernetes.io/service-name: echo } }
addressType: IPv4
ports: [ { name: http, port: 18081 } ]
endpoints: [ { addresses: [ 127.0.0.1 ] } ]
";

#[test]
fn the_shared_corpus_translates() {
    let Some(folder) = shared("conformance") else { return };
    let mut cases = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let case: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let manifests = case["manifests"].as_str().unwrap().replace("@PORT@", PORT);
        let (bundle, faults) = bundle::read(&texts(&[("base", BASE), ("case", &manifests)]), &[]);
        let (model, report) = translate::translate(&bundle, faults);
        let name = path.file_stem().unwrap().to_str().unwrap();
        let errors: Vec<_> = report.errors().collect();
        match name {
            // These target what is not there, on purpose.
            "attach-targetref-other" | "attach-targetref-from-root" => {
                assert_eq!(errors.len(), 2, "{errors:#?}");
                assert!(errors.iter().all(|e| e.contains("TargetNotFound")), "{errors:#?}");
            }
            _ => assert!(errors.is_empty(), "{name}: {errors:#?}"),
        }
        let applies =
            !model.gateways[0].policies.is_empty() || !model.gateways[0].jwt_rules.is_empty();
        let ignored = matches!(
            name,
            "attach-targetref-other" | "attach-targetref-from-root" | "attach-selector-other"
        );
        assert!(applies != ignored || name == "attach-no-jwt-rules", "{name}: attached wrongly");
        cases += 1;
    }
    assert!(cases > 80, "only {cases} cases");
}

#[test]
fn the_quickstart_translates() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart");
    let (mut files, faults) = source::read(&[folder]);
    assert!(faults.is_empty(), "{faults:#?}");
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let indent = |pem: String| pem.replace('\n', "\n    ");
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{ name: quickstart-certificate }}\n\
         type: kubernetes.io/tls\nstringData:\n  tls.crt: |\n    {}\n  tls.key: |\n    {}\n",
        indent(certificate.cert.pem()),
        indent(certificate.signing_key.serialize_pem())
    );
    files.push(SourceFile { name: "secret".into(), text: secret });
    let (bundle, faults) = bundle::read(&files, &[]);
    let (model, report) = translate::translate(&bundle, faults);
    let errors: Vec<_> = report.errors().collect();
    assert!(errors.is_empty(), "{errors:#?}");
    assert_eq!(model.listeners.len(), 2);
}

#[test]
fn the_benchmark_manifests_translate() {
    let Some(folder) = shared("bench") else { return };
    let jwks = fs::read_to_string(folder.join("samples/jwks.json")).unwrap().replace('\n', "");
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let base64 =
        |pem: String| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder.join("ours")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path)
            .unwrap()
            .replace("@PORT@", PORT)
            .replace("@TLS_PORT@", "18443")
            .replace("@UPSTREAM@", "18081")
            .replace("@JWKS@", &jwks)
            .replace("@TLS_CRT_B64@", &base64(certificate.cert.pem()))
            .replace("@TLS_KEY_B64@", &base64(certificate.signing_key.serialize_pem()))
            .replace(
                "\n@RULES@",
                "\n  - { from: [ { source: { notRequestPrincipals: [ '*' ] } } ], \
                 to: [ { operation: { paths: [ /productpage ] } } ] }",
            );
        files.push(SourceFile { name: path.to_string_lossy().into(), text });
    }
    let (bundle, faults) = bundle::read(&files, &[]);
    let (model, report) = translate::translate(&bundle, faults);
    let errors: Vec<_> = report.errors().collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let shape = (model.listeners.len(), model.routes.len(), model.gateways[0].policies.len());
    assert_eq!(shape, (2, 1, 1));
    let keys = Keys::new(KeySettings::default()).plan(&model);
    let compiled =
        publish::compile(model, &TlsBuilder::new().unwrap(), &keys, &Proxies::default()).unwrap();
    assert_eq!(compiled.listen_addresses().len(), 2);
}

/// What the loop asked of the ports.
#[derive(Default)]
struct Recorder {
    opened: Vec<u16>,
    closed: Vec<u16>,
    refuse: bool,
}

impl Ports for Recorder {
    fn open(&mut self, opened: &[ListenAddress]) -> Result<(), String> {
        if self.refuse {
            return Err("port is taken".to_owned());
        }
        self.opened.extend(opened.iter().map(|address| address.ports.first()));
        Ok(())
    }

    fn close(&mut self, closed: &[ListenAddress]) {
        self.closed.extend(closed.iter().map(|address| address.ports.first()));
    }

    fn look(&mut self) {}
}

fn slots(seen: Arc<Mutex<Vec<String>>>) -> SlotAssigner {
    Box::new(move |names| {
        *seen.lock().unwrap() = names.to_vec();
        (1..).take(names.len()).map(PathSlot).collect()
    })
}

#[test]
fn a_reload_publishes_or_keeps_the_last_good_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.yaml");
    fs::write(&file, BASE).unwrap();
    let settings = Settings { paths: vec![dir.path().to_owned()], ..Settings::default() };
    let prepared = Prepared::read(settings).unwrap();
    assert_eq!(prepared.listen_addresses(), [ListenAddress { address: None, ports: 18080.into() }]);
    let names = Arc::new(Mutex::new(Vec::new()));
    let mut control = prepared.publish(slots(Arc::clone(&names)));
    assert_eq!(*names.lock().unwrap(), ["PathPrefix /"]);
    let (writer, status) = (control.writer(), control.status());
    let mut ports = Recorder::default();

    fs::write(&file, BASE.replace("18080", "18090")).unwrap();
    let now = || source::fingerprint(&[dir.path().to_owned()]);
    assert!(control.is_settled_change(&now()));
    control.reload(&mut ports);
    assert!(!control.is_settled_change(&now()));
    assert_eq!((&*ports.opened, &*ports.closed), (&[18090][..], &[18080][..]));
    assert_eq!((writer.current().generation, status.generation()), (2, 2));

    let rows: &[(&str, String)] = &[
        ("broken YAML", format!("{BASE}---\na: [")),
        ("unknown field", BASE.replace("parentRefs", "parentRef")),
        ("missing Service", BASE.replace("kind: Service\n", "kind: ConfigMap\n")),
        ("slice without addresses", BASE.replace("[ 127.0.0.1 ]", "[]")),
        ("nothing left", "kind: ConfigMap\napiVersion: v1\n".to_owned()),
    ];
    for (position, (row, text)) in rows.iter().enumerate() {
        fs::write(&file, text).unwrap();
        control.reload(&mut ports);
        assert_eq!(writer.current().generation, 2, "{row}");
        assert!(!status.last_succeeded(), "{row}");
        assert_eq!(status.failures(), position as u64 + 1, "{row}");
        assert!(!writer.current().ports.at(18090).is_empty(), "{row}");
    }

    fs::write(&file, BASE).unwrap();
    ports.refuse = true;
    control.reload(&mut ports);
    assert_eq!(writer.current().generation, 2, "a port that cannot be opened");
    ports.refuse = false;
    control.reload(&mut ports);
    assert_eq!(writer.current().generation, 3);
    assert!(status.last_succeeded());
}

#[test]
fn the_loop_follows_files_and_triggers() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.yaml");
    fs::write(&file, BASE).unwrap();
    let settings = Settings { paths: vec![file.clone()], ..Settings::default() };
    let mut control = Prepared::read(settings).unwrap().publish(slots(Arc::default()));
    let writer = control.writer();
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || control.run(&mut Recorder::default(), &receiver));
    let wait_for = |generation: u64| {
        // Far below the pause that a mistaken measure of the look's cost would cause.
        for _ in 0..150 {
            if writer.current().generation == generation {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("generation {generation} was not published");
    };
    sender.send(Trigger::Reload).unwrap();
    wait_for(2);
    let other = dir.path().join("next");
    fs::write(&other, BASE.replace("18080", "18090")).unwrap();
    fs::rename(&other, &file).unwrap();
    wait_for(3);
    assert!(!writer.current().ports.at(18090).is_empty());
    // One change right after another, and through a bad one.
    fs::write(&file, "kind: [").unwrap();
    std::thread::sleep(POLL + 2 * SETTLE);
    fs::write(&file, BASE).unwrap();
    wait_for(4);
    sender.send(Trigger::Stop).unwrap();
    thread.join().unwrap();
}

#[test]
fn whoever_trusts_proxies_has_to_say_which() {
    let dir = tempfile::tempdir().unwrap();
    let annotation =
        "annotations: { proxy.istio.io/config: \"gatewayTopology: { numTrustedProxies: 1 }\" }";
    let text = BASE.replacen("metadata: {", &format!("metadata: {{ {annotation},"), 1);
    assert_ne!(text, BASE);
    fs::write(dir.path().join("all.yaml"), text).unwrap();
    let settings =
        |proxies| Settings { paths: vec![dir.path().to_owned()], proxies, ..Settings::default() };
    let Err(StartError::Configuration(errors)) = Prepared::read(settings(Some(Proxies::default())))
    else {
        panic!("it started");
    };
    let [error] = &errors[..] else { panic!("{errors:#?}") };
    assert!(
        error.contains("Gateway default/ingress") && error.contains("--trusted-proxy"),
        "{error}"
    );
    let checked = check::run(&[dir.path().to_owned()], &[], Proxies::default());
    assert!(!checked.is_good());
    let named = Proxies::new(&[crate::model::policy::Cidr::parse("10.0.0.0/8").unwrap()]);
    assert!(check::run(&[dir.path().to_owned()], &[], named.clone()).is_good());
    assert!(Prepared::read(settings(Some(named))).is_ok());
}

#[test]
fn what_cannot_start_says_everything_that_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let text = BASE.replace("protocol: HTTP", "protocol: HTTTP").replace("parentRefs", "parents");
    fs::write(dir.path().join("all.yaml"), text).unwrap();
    let missing = dir.path().join("missing.yaml");
    let paths = vec![dir.path().to_owned(), missing];
    let settings = Settings { paths, ..Settings::default() };
    let Err(StartError::Configuration(errors)) = Prepared::read(settings) else {
        panic!("it started");
    };
    for part in [
        "missing.yaml: cannot read it",
        "all.yaml:7: Gateway default/ingress: spec.listeners[0].protocol: unknown value \"HTTTP\"",
        "HTTPRoute default/all: spec.parents: unknown field",
    ] {
        assert!(errors.iter().any(|error| error.contains(part)), "{part}: {errors:#?}");
    }
    assert_eq!(errors.len(), 3, "{errors:#?}");
}
