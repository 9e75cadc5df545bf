//! Keys, tokens and the certificate, made once on this machine and kept in the benchmark's folder.
//! Nothing of it is secret, and nothing of it is worth keeping.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

/// Who issues the tokens.
pub(crate) const ISSUER: &str = "https://issuer.bench.test";
/// How many different tokens there are of an algorithm.
pub(crate) const TOKENS: usize = 20_000;
/// The end of all tokens: in 2100.
const EXPIRES: u64 = 4_102_444_800;
/// Changed whenever what is made here changes.
const EDITION: &str = "1";

/// Tokens by what a load does with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tokens {
    /// No token.
    None,
    /// The same one always (RS256).
    One,
    /// RS256, one after another.
    Rsa,
    /// ES256, one after another.
    Ec,
    /// The same one, its signature forged.
    Bad,
    /// One after another, every signature forged (RS256).
    EachBad,
}

/// The folder with all of it.
#[derive(Clone, Debug)]
pub(crate) struct Material {
    folder: PathBuf,
}

impl Material {
    /// Makes it, unless it is there.
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let material = Self { folder: folder.to_owned() };
        let stamp = material.path("edition");
        if fs::read_to_string(&stamp).is_ok_and(|edition| edition == EDITION) {
            return Ok(material);
        }
        eprintln!("making keys and {} tokens in {}", 2 * TOKENS, folder.display());
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        material.make_tokens()?;
        material.make_certificate()?;
        material.write("edition", EDITION)?;
        Ok(material)
    }

    /// A file of it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The text of a file of it.
    pub(crate) fn text(&self, name: &str) -> Result<String> {
        let path = self.path(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// The file of these tokens, one per line.
    pub(crate) fn tokens(&self, tokens: Tokens) -> Option<PathBuf> {
        let name = match tokens {
            Tokens::None => return None,
            Tokens::One => "one.txt",
            Tokens::Rsa => "rs256.txt",
            Tokens::Ec => "es256.txt",
            Tokens::Bad => "bad.txt",
            Tokens::EachBad => "each-bad.txt",
        };
        Some(self.path(name))
    }

    /// The first of these tokens.
    pub(crate) fn token(&self, tokens: Tokens) -> Result<String> {
        let Some(path) = self.tokens(tokens) else { return Ok(String::new()) };
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn make_tokens(&self) -> Result<()> {
        let signers = [Signer::rsa()?, Signer::ec()?];
        let jwks: Vec<_> = signers.iter().map(Signer::jwk).collect::<Result<_>>()?;
        self.write("jwks.json", &json!({ "keys": jwks }).to_string())?;
        for signer in &signers {
            self.write(&format!("{}.pem", signer.id()), &signer.pem()?)?;
            let tokens = (0..TOKENS).map(|at| signer.token(at));
            let tokens = tokens.collect::<Result<Vec<_>>>()?;
            self.write(&format!("{}.txt", signer.id()), &lines(&tokens))?;
            if let Signer::Rsa(_) = signer {
                let forged: Vec<String> = tokens.iter().map(|token| forge(token)).collect();
                self.write("one.txt", &lines(&tokens[..1]))?;
                self.write("bad.txt", &lines(&forged[..1]))?;
                self.write("each-bad.txt", &lines(&forged))?;
            }
        }
        Ok(())
    }

    /// One certificate for every gateway, ECDSA P-256, and how OpenSSL clients have to speak.
    fn make_certificate(&self) -> Result<()> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])
            .context("cannot make a certificate")?;
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        self.write("certificate.pem", &certificate)?;
        self.write("key.pem", &key)?;
        self.write("both.pem", &format!("{certificate}{key}"))?;
        self.write(
            "openssl.cnf",
            "openssl_conf = top\n[top]\nssl_conf = ssl\n[ssl]\nsystem_default = client\n[client]\n\
             MinProtocol = TLSv1.3\nGroups = X25519\nCiphersuites = TLS_AES_128_GCM_SHA256\n",
        )
    }
}

fn lines(tokens: &[String]) -> String {
    let mut text = tokens.join("\n");
    text.push('\n');
    text
}

/// The token with one byte in the middle of its signature changed.
fn forge(token: &str) -> String {
    let (message, signature) = token.rsplit_once('.').unwrap_or((token, ""));
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 0x55;
    }
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(bytes))
}

enum Signer {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl Signer {
    fn rsa() -> Result<Self> {
        Ok(Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).context("cannot make an RSA key")?))
    }

    fn ec() -> Result<Self> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Ok(Self::Ec(key.context("cannot make an EC key")?))
    }

    fn id(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "rs256",
            Self::Ec(_) => "es256",
        }
    }

    fn jwk(&self) -> Result<serde_json::Value> {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let id = self.id();
        let algorithm = id.to_uppercase();
        Ok(match self {
            Self::Rsa(key) => {
                let numbers = PublicKeyComponents::<Vec<u8>>::from(key.public_key());
                json!({ "kty": "RSA", "kid": id, "alg": algorithm, "use": "sig",
                        "n": encode(&numbers.n), "e": encode(&numbers.e) })
            }
            Self::Ec(key) => {
                // An uncompressed point: 4, x, y.
                let point = key.public_key().as_ref();
                let (x, y) = point.get(1..).context("a short key")?.split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "kid": id, "alg": algorithm, "use": "sig",
                        "x": encode(x), "y": encode(y) })
            }
        })
    }

    /// The public key.
    fn pem(&self) -> Result<String> {
        let der: PublicKeyX509Der<'_> = match self {
            Self::Rsa(key) => key.public_key().as_der(),
            Self::Ec(key) => key.public_key().as_der(),
        }
        .context("cannot encode a key")?;
        let text = STANDARD.encode(der.as_ref());
        let lines: Vec<_> =
            text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line)).collect();
        Ok(format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n")))
    }

    fn token(&self, at: usize) -> Result<String> {
        let id = self.id();
        let header = json!({ "alg": id.to_uppercase(), "kid": id, "typ": "JWT" });
        let claims = json!({ "iss": ISSUER, "sub": format!("user-{at:05}@example.org"),
                             "exp": EXPIRES, "jti": format!("{at:08x}"), "groups": ["dev", "ops"] });
        let parts = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = parts.join(".");
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(self.sign(message.as_bytes())?)))
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .context("cannot sign")?;
                Ok(signature)
            }
            Self::Ec(key) => {
                let signature = key.sign(&random, message).context("cannot sign")?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    #[test]
    fn tokens_verify_and_forged_ones_do_not() -> Result<()> {
        let signer = Signer::ec()?;
        let Signer::Ec(key) = &signer else { unreachable!("made as EC") };
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref());
        let verifies = |token: &str| {
            let (message, signature) = token.rsplit_once('.').unwrap_or_default();
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
            public.verify(message.as_bytes(), &signature).is_ok()
        };
        let token = signer.token(3)?;
        assert!(verifies(&token));
        assert!(!verifies(&forge(&token)));
        assert_ne!(signer.token(4)?, token);
        Ok(())
    }
}
