//! Secret of type `kubernetes.io/tls` to [`Certificate`].

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::super::bundle::{Bundle, Loaded};
use super::super::conditions::{ConditionType, Draft, ObjectReport, Reason};
use super::super::path::FieldPath;
use crate::manifest::secret::Secret;
use crate::model::listener::Certificate;

const TLS_TYPE: &str = "kubernetes.io/tls";

/// What a Secret holds for a listener.
enum Entry {
    Certificate(Certificate),
    /// Of another type.
    OtherType(String),
    /// Its own report says what is wrong.
    Broken,
}

/// The certificates of a bundle.
pub(super) struct Certificates(HashMap<(Arc<str>, Arc<str>), Entry>);

impl Certificates {
    /// Of a bundle.
    pub(super) fn new(bundle: &Bundle, reports: &mut Vec<ObjectReport>) -> Self {
        let mut entries = HashMap::new();
        for loaded in &bundle.secrets {
            let mut draft = ObjectReport::open(loaded, None);
            let entry = match loaded.manifest.kind.as_deref() {
                Some(TLS_TYPE) => {
                    certificate(loaded, &mut draft).map_or(Entry::Broken, Entry::Certificate)
                }
                other => {
                    let other = other.unwrap_or("Opaque");
                    draft.note(format!("type {other}: not looked at"));
                    Entry::OtherType(other.to_owned())
                }
            };
            let object = &loaded.object;
            entries.insert((Arc::clone(&object.namespace), Arc::clone(&object.name)), entry);
            reports.push(draft.finish(&[ConditionType::Accepted]));
        }
        Self(entries)
    }

    /// The certificate of a Secret, or why there is none.
    pub(super) fn find(&self, namespace: &Arc<str>, name: &str) -> Result<&Certificate, String> {
        match self.0.get(&(Arc::clone(namespace), name.into())) {
            Some(Entry::Certificate(certificate)) => Ok(certificate),
            Some(Entry::OtherType(kind)) => Err(format!(
                "Secret {namespace}/{name} has type {kind}; use one of type {TLS_TYPE}"
            )),
            Some(Entry::Broken) => {
                Err(format!("Secret {namespace}/{name} holds no usable certificate; see its error"))
            }
            None => Err(format!("Secret {namespace}/{name} is not there; add it")),
        }
    }
}

fn certificate(loaded: &Loaded<Secret>, draft: &mut Draft<'_>) -> Option<Certificate> {
    let chain = pem(loaded, "tls.crt", draft);
    let key = pem(loaded, "tls.key", draft);
    let ((chain_path, chain), (key_path, key)) = (chain?, key?);
    let chain: Vec<_> = match CertificateDer::pem_slice_iter(&chain).collect() {
        Ok(chain) => chain,
        Err(error) => {
            let message = format!("is not PEM: {error}");
            draft.refuse(Reason::Invalid, chain_path, message);
            return None;
        }
    };
    if chain.is_empty() {
        let message = "holds no CERTIFICATE block in PEM";
        draft.refuse(Reason::Invalid, chain_path, message);
        return None;
    }
    let key = match PrivateKeyDer::from_pem_slice(&key) {
        Ok(key) => key,
        Err(error) => {
            let message =
                format!("holds no private key in PEM (PKCS #8, PKCS #1 or SEC 1): {error}");
            draft.refuse(Reason::Invalid, key_path, message);
            return None;
        }
    };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    match CertifiedKey::from_der(chain, key, &provider) {
        Ok(key) => Some(Certificate { secret: loaded.object.clone(), key: Arc::new(key) }),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let message = "the key does not belong to the certificate in tls.crt";
            draft.refuse(Reason::Invalid, key_path, message);
            None
        }
        Err(rustls::Error::InvalidCertificate(error)) => {
            let message = format!("the first certificate cannot be used: {error}");
            draft.refuse(Reason::Invalid, chain_path, message);
            None
        }
        Err(error) => {
            let message = format!("certificate and key cannot be used: {error}");
            draft.refuse(Reason::Invalid, key_path, message);
            None
        }
    }
}

/// The bytes of a field, `stringData` before `data`, and where they stand.
fn pem(loaded: &Loaded<Secret>, name: &str, draft: &mut Draft<'_>) -> Option<(FieldPath, Vec<u8>)> {
    if let Some(text) = loaded.manifest.string_data.get(name) {
        return Some((FieldPath::of("stringData").name(name), text.clone().into_bytes()));
    }
    let path = FieldPath::of("data").name(name);
    let Some(text) = loaded.manifest.data.get(name) else {
        draft.refuse(Reason::Invalid, path, format!("{name} is missing"));
        return None;
    };
    // Wrapped base64 comes from `base64` without -w0 in a block scalar.
    let text: String = text.split_ascii_whitespace().collect();
    match STANDARD.decode(text) {
        Ok(bytes) => Some((path, bytes)),
        Err(error) => {
            draft.refuse(Reason::Invalid, path, format!("is not base64: {error}"));
            None
        }
    }
}
