//! Signatures (RFC 7515, RFC 7518, RFC 8037). The only file that names `jsonwebtoken`.
//!
//! A key is parsed once, when a key set is compiled, into one verifier per algorithm that its type
//! and curve allow; a token's `alg` can only pick among those. So no token can make an RSA key an
//! HMAC secret, or judge a P-256 signature by another curve. `jsonwebtoken`'s own verifiers read
//! the key's bytes again for every signature, hence verifiers of our own behind its trait; see
//! `docs/decisions/0040-parsed-keys.md` for what that is worth.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    self as rules, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};
use jsonwebtoken::crypto::JwtVerifier;
use jsonwebtoken::signature::{Error, Verifier};

use super::failure::Failure;

/// An algorithm that a token may be signed with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Algorithm {
    /// One that `jsonwebtoken` has a name for.
    Named(jsonwebtoken::Algorithm),
    /// ECDSA on P-521 with SHA-512, which it has none for.
    Es512,
}

const fn named(algorithm: jsonwebtoken::Algorithm) -> Algorithm {
    Algorithm::Named(algorithm)
}

/// Every algorithm with the text of its `alg`.
const ALGORITHMS: [(&str, Algorithm); 13] = [
    ("RS256", named(jsonwebtoken::Algorithm::RS256)),
    ("RS384", named(jsonwebtoken::Algorithm::RS384)),
    ("RS512", named(jsonwebtoken::Algorithm::RS512)),
    ("PS256", named(jsonwebtoken::Algorithm::PS256)),
    ("PS384", named(jsonwebtoken::Algorithm::PS384)),
    ("PS512", named(jsonwebtoken::Algorithm::PS512)),
    ("ES256", named(jsonwebtoken::Algorithm::ES256)),
    ("ES384", named(jsonwebtoken::Algorithm::ES384)),
    ("ES512", Algorithm::Es512),
    ("HS256", named(jsonwebtoken::Algorithm::HS256)),
    ("HS384", named(jsonwebtoken::Algorithm::HS384)),
    ("HS512", named(jsonwebtoken::Algorithm::HS512)),
    ("EdDSA", named(jsonwebtoken::Algorithm::EdDSA)),
];

impl Algorithm {
    /// The algorithm of this `alg`, case sensitive.
    pub(super) fn named(text: &str) -> Option<Self> {
        ALGORITHMS.iter().find(|(name, _)| *name == text).map(|(_, algorithm)| *algorithm)
    }

    /// Its `alg`.
    pub(super) fn name(self) -> &'static str {
        ALGORITHMS.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
}

/// Verifiers of one key, at most one per algorithm.
pub(super) struct Material {
    verifiers: Vec<KeyVerifier>,
    /// A shared secret of fewer bytes than RFC 7518 3.2 asks for.
    short_secret: bool,
}

/// A parsed key, bound to one algorithm.
enum KeyVerifier {
    /// An algorithm of `jsonwebtoken`.
    Named(Box<dyn JwtVerifier + Send + Sync>),
    /// ES512.
    P521(ParsedPublicKey),
}

/// Bytes of the shortest secret for HS256 (RFC 7518 3.2).
const SHORTEST_SECRET: usize = 32;
/// Bytes of an Ed25519 signature (RFC 8032 5.1.6).
const ED25519_SIGNATURE: usize = 64;

impl Material {
    /// An RSA key of 2048 to 8192 bits, for every hash and both paddings.
    pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        const RULES: [(&str, &RsaParameters); 6] = [
            ("RS256", &rules::RSA_PKCS1_2048_8192_SHA256),
            ("RS384", &rules::RSA_PKCS1_2048_8192_SHA384),
            ("RS512", &rules::RSA_PKCS1_2048_8192_SHA512),
            ("PS256", &rules::RSA_PSS_2048_8192_SHA256),
            ("PS384", &rules::RSA_PSS_2048_8192_SHA384),
            ("PS512", &rules::RSA_PSS_2048_8192_SHA512),
        ];
        let components = RsaPublicKeyComponents { n: modulus, e: exponent };
        let verifier = |(name, rule): (&str, &'static RsaParameters)| {
            let key = components.to_parsed_public_key(rule).ok()?;
            Some(KeyVerifier::public(Algorithm::named(name)?, key))
        };
        RULES.into_iter().map(verifier).collect::<Option<_>>().map(Self::public)
    }

    /// A point on a curve (uncompressed, SEC 1 2.3.3), for the one hash that belongs to it.
    pub(super) fn ec(curve: &str, point: &[u8]) -> Option<Self> {
        let (name, rule): (_, &'static dyn VerificationAlgorithm) = match curve {
            "P-256" => ("ES256", &rules::ECDSA_P256_SHA256_FIXED),
            "P-384" => ("ES384", &rules::ECDSA_P384_SHA384_FIXED),
            "P-521" => ("ES512", &rules::ECDSA_P521_SHA512_FIXED),
            _ => return None,
        };
        let key = ParsedPublicKey::new(rule, point).ok()?;
        Some(Self::public(vec![KeyVerifier::public(Algorithm::named(name)?, key)]))
    }

    /// An Ed25519 key.
    pub(super) fn ed25519(key: &[u8]) -> Option<Self> {
        let key = ParsedPublicKey::new(&rules::ED25519, key).ok()?;
        Some(Self::public(vec![KeyVerifier::public(Algorithm::named("EdDSA")?, key)]))
    }

    /// A shared secret.
    pub(super) fn secret(secret: &[u8]) -> Option<Self> {
        use jsonwebtoken::Algorithm::{HS256, HS384, HS512};
        let rules =
            [(HS256, hmac::HMAC_SHA256), (HS384, hmac::HMAC_SHA384), (HS512, hmac::HMAC_SHA512)];
        let verifier = |(algorithm, rule)| {
            let key = hmac::Key::new(rule, secret);
            KeyVerifier::Named(Box::new(Secret { algorithm, key }))
        };
        let verifiers = rules.into_iter().map(verifier).collect();
        let short_secret = secret.len() < SHORTEST_SECRET;
        (!secret.is_empty()).then_some(Self { verifiers, short_secret })
    }

    fn public(verifiers: Vec<KeyVerifier>) -> Self {
        Self { verifiers, short_secret: false }
    }

    /// Whether this is a shared secret that is too short to be one.
    pub(super) fn is_short_secret(&self) -> bool {
        self.short_secret
    }

    /// Whether this is an Ed25519 key.
    fn is_ed25519(&self) -> bool {
        self.verifiers.iter().any(|key| key.algorithm() == named(jsonwebtoken::Algorithm::EdDSA))
    }

    /// Verifies a signature by the rule for `algorithm`, if the key has one.
    pub(super) fn verify(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> Result<(), Failure> {
        if self.is_ed25519() && signature.len() != ED25519_SIGNATURE {
            return Err(Failure::Ed25519Length);
        }
        let verifier = self.verifiers.iter().find(|key| key.algorithm() == algorithm);
        verifier.ok_or(Failure::Signature)?.verify(message, signature)
    }
}

impl KeyVerifier {
    fn public(algorithm: Algorithm, key: ParsedPublicKey) -> Self {
        match algorithm {
            Algorithm::Named(algorithm) => Self::Named(Box::new(Public { algorithm, key })),
            Algorithm::Es512 => Self::P521(key),
        }
    }

    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Named(verifier) => named(verifier.algorithm()),
            Self::P521(_) => Algorithm::Es512,
        }
    }

    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), Failure> {
        let good = match self {
            Self::Named(verifier) => verifier.verify(message, signature).is_ok(),
            Self::P521(key) => key.verify_sig(message, signature).is_ok(),
        };
        good.then_some(()).ok_or(Failure::Signature)
    }
}

/// A parsed public key behind `jsonwebtoken`'s trait.
struct Public {
    algorithm: jsonwebtoken::Algorithm,
    key: ParsedPublicKey,
}

impl Verifier<Vec<u8>> for Public {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), Error> {
        self.key.verify_sig(message, signature).map_err(|_| Error::new())
    }
}

impl JwtVerifier for Public {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        self.algorithm
    }
}

/// A shared secret behind `jsonwebtoken`'s trait.
struct Secret {
    algorithm: jsonwebtoken::Algorithm,
    key: hmac::Key,
}

impl Verifier<Vec<u8>> for Secret {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), Error> {
        hmac::verify(&self.key, message, signature).map_err(|_| Error::new())
    }
}

impl JwtVerifier for Secret {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        self.algorithm
    }
}
