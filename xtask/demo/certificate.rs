//! The certificate of the quickstart's HTTPS listener: self-signed, made once on this machine.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The folder beside the manifests; git ignores it.
pub(crate) const FOLDER: &str = ".generated";
/// What `curl --cacert` takes.
const CERTIFICATE: &str = "certificate.pem";
/// What the Gateway's `certificateRefs` names.
const SECRET: &str = "secret.yaml";

/// Writes a certificate and the Secret that holds it, unless both are there.
pub(crate) fn make(examples: &Path) -> Result<()> {
    let folder = examples.join(FOLDER);
    let (certificate, secret) = (folder.join(CERTIFICATE), folder.join(SECRET));
    if certificate.exists() && secret.exists() {
        return Ok(());
    }
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names).context("cannot make a certificate")?;
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    write(&certificate, 0o644, &made.cert.pem())?;
    write(&secret, 0o600, &manifest(&made.cert.pem(), &made.signing_key.serialize_pem()))
}

fn write(path: &Path, mode: u32, text: &str) -> Result<()> {
    let open = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path);
    open.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn manifest(certificate: &str, key: &str) -> String {
    format!(
        "# Made by `cargo xtask run`, for this machine only.\n\
         apiVersion: v1\n\
         kind: Secret\n\
         metadata:\n  name: quickstart-certificate\n  namespace: default\n\
         type: kubernetes.io/tls\n\
         data:\n  tls.crt: {}\n  tls.key: {}\n",
        STANDARD.encode(certificate),
        STANDARD.encode(key)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_made_once_and_its_key_is_private() -> Result<()> {
        let examples = tempfile::tempdir()?;
        make(examples.path())?;
        let folder = examples.path().join(FOLDER);
        let first = fs::read_to_string(folder.join(CERTIFICATE))?;
        assert!(first.starts_with("-----BEGIN CERTIFICATE-----"));
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(folder.join(SECRET))?.permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);

        make(examples.path())?;
        assert_eq!(fs::read_to_string(folder.join(CERTIFICATE))?, first);
        Ok(())
    }

    #[test]
    fn the_secret_is_the_one_that_the_gateway_names() {
        let gateway = include_str!("../../examples/quickstart/gateway.yaml");
        let name = "name: quickstart-certificate\n";
        assert!(gateway.contains(name) && manifest("c", "k").contains(name));
    }
}
