//! Key sets (RFC 7517). An entry that cannot verify a token is left out and named; the others
//! still count. A set without any usable key refuses its issuer's tokens and nothing else.

use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::claims::{Header, signed_part};
use super::failure::Failure;
use super::json;
use super::verify::Material;
use crate::model::identity::Claim;
use crate::model::jwt::KeySource;
use crate::model::keys::{KeyFeed, KeyPlace, RemoteKeys};

/// Base64url; some issuers pad.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What is there of a key set that has to be fetched.
pub struct StoredKeys {
    /// The text of the last good set; none yet: no token of the issuer is accepted.
    pub text: Option<Arc<str>>,
    /// Told when a token names a key that is not in the set.
    pub feed: Arc<KeyFeed>,
}

/// Finds what is there of a key set.
pub type KeyStore<'s> = &'s dyn Fn(&RemoteKeys) -> Option<StoredKeys>;

/// What a fetched text holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyReport {
    /// Keys that can verify tokens.
    pub usable: usize,
    /// Entries that were left out.
    pub skipped: usize,
    /// What is to be said about the set.
    pub notes: Vec<String>,
}

/// Reads the text of a source as a rule that uses it would.
pub fn inspect_keys(source: &RemoteKeys, text: &str) -> KeyReport {
    let (set, notes) = KeySet::parse(text, Origin::of(source));
    let entries = entries(text).map_or(0, |entries| entries.len());
    KeyReport { usable: set.keys.len(), skipped: entries - set.keys.len(), notes }
}

/// Who wrote a set: a shared secret may stand in one's own configuration, never in what an issuer
/// publishes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Origin {
    Configured,
    Fetched,
}

impl Origin {
    fn of(source: &RemoteKeys) -> Self {
        match source.place {
            KeyPlace::File(_) => Self::Configured,
            KeyPlace::Url(_) | KeyPlace::Discovery(_) => Self::Fetched,
        }
    }
}

/// The keys of one rule, parsed.
pub(super) struct KeySet {
    keys: Vec<Key>,
    feed: Option<Arc<KeyFeed>>,
}

struct Key {
    /// `kid`; none fits every token.
    id: Option<Box<str>>,
    /// `alg`; none fits every algorithm of the key's type.
    algorithm: Option<Box<str>>,
    material: Material,
}

impl KeySet {
    /// Parses a key set; the texts name what was left out and why.
    pub(super) fn compile(source: &KeySource, store: KeyStore<'_>) -> (Self, Vec<String>) {
        match source {
            KeySource::Inline(text) => Self::parse(text, Origin::Configured),
            KeySource::Remote(remote) => {
                let stored = store(remote);
                let text = stored.as_ref().and_then(|stored| stored.text.as_deref());
                let (mut set, notes) = match text {
                    Some(text) => Self::parse(text, Origin::of(remote)),
                    None => (Self::empty(), Vec::new()),
                };
                set.feed = stored.map(|stored| stored.feed);
                (set, notes)
            }
            KeySource::Elsewhere | KeySource::Unusable => (Self::empty(), Vec::new()),
        }
    }

    fn empty() -> Self {
        Self { keys: Vec::new(), feed: None }
    }

    fn parse(text: &str, origin: Origin) -> (Self, Vec<String>) {
        let mut notes = Vec::new();
        let entries = entries(text).unwrap_or_else(|why| {
            notes.push(format!("jwks: {why}"));
            Vec::new()
        });
        let mut keys = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            match Key::parse(entry, origin) {
                Ok(key) => {
                    if key.material.is_short_secret() {
                        notes.push(format!("jwks: keys[{at}] is shorter than 32 bytes: guessable"));
                    }
                    keys.push(key);
                }
                Err(why) => notes.push(format!("jwks: keys[{at}] is left out: {why}")),
            }
        }
        (Self { keys, feed: None }, notes)
    }

    /// Says that a token named a key that is not here; whoever fetches the set may look again.
    pub(super) fn miss(&self) {
        if let Some(feed) = &self.feed {
            feed.want();
        }
    }

    /// Verifies a token's signature by every key that fits its `kid` and `alg`.
    pub(super) fn verify(
        &self,
        header: &Header,
        token: &[u8],
        signature: &Vec<u8>,
    ) -> Result<(), Failure> {
        if self.keys.is_empty() {
            return Err(Failure::KeysUnavailable);
        }
        let mut failure = Failure::KeyUnknown;
        for key in self.keys.iter().filter(|key| key.fits(header)) {
            match key.material.verify(header.algorithm, signed_part(token), signature) {
                Ok(()) => return Ok(()),
                Err(_) if failure == Failure::Ed25519Length => {}
                Err(why) => failure = why,
            }
        }
        if failure == Failure::Signature && !self.is_of_named_key(header) {
            return Err(Failure::SignatureOfWhom);
        }
        Err(failure)
    }

    /// Whether a bad signature must be a forgery: the token names one of the keys, or nobody
    /// changes them behind our back. Else it may be of a key that was not fetched yet.
    fn is_of_named_key(&self, header: &Header) -> bool {
        let named = |key: &Key| key.id.is_some() && key.id.as_deref() == header.key_id.as_deref();
        self.feed.is_none() || self.keys.iter().any(named)
    }
}

fn entries(text: &str) -> Result<Vec<Claim>, &'static str> {
    let Some(Claim::Object(members)) = json::object(text.as_bytes()) else {
        return Err("not a JSON object, or one with a member twice");
    };
    match members.into_iter().find(|(name, _)| **name == *"keys") {
        Some((_, Claim::List(entries))) => Ok(entries),
        Some(_) => Err("`keys` is not a list"),
        None => Err("no `keys`"),
    }
}

impl Key {
    fn parse(entry: &Claim, origin: Origin) -> Result<Self, &'static str> {
        let member = |name: &str| entry.member(name).and_then(Claim::as_str);
        let filled = |name: &str| member(name).filter(|text| !text.is_empty());
        if !matches!(entry, Claim::Object(_)) {
            return Err("not an object");
        }
        if entry.member("d").is_some() {
            return Err("it is a private key, which nobody may publish");
        }
        let algorithm = filled("alg");
        let material = match member("kty") {
            Some("RSA") => rsa(&member, algorithm),
            Some("EC") => ec(&member, algorithm),
            Some("OKP") => ed25519(&member, algorithm),
            Some("oct") if origin == Origin::Fetched => {
                Err("it is a shared secret, which nobody may publish")
            }
            Some("oct") => secret(&member, algorithm),
            Some(_) => Err("`kty` is none of RSA, EC, OKP, oct"),
            None => Err("no `kty`"),
        }?;
        let id = filled("kid").map(Box::from);
        Ok(Self { id, algorithm: algorithm.map(Box::from), material })
    }

    /// Whether the key is to be tried: `kid` equal or absent on either side, `alg` equal or absent
    /// from the key.
    fn fits(&self, header: &Header) -> bool {
        let same_id = match (self.id.as_deref(), header.key_id.as_deref()) {
            (Some(id), Some(wanted)) => id == wanted,
            _ => true,
        };
        same_id && self.algorithm.as_deref().is_none_or(|name| name == header.algorithm.name())
    }
}

/// Members of an entry by name.
type Member<'m, 'e> = &'m dyn Fn(&str) -> Option<&'e str>;

fn bytes(member: Member<'_, '_>, name: &str) -> Option<Vec<u8>> {
    BASE64.decode(member(name)?).ok()
}

fn rsa(member: Member<'_, '_>, algorithm: Option<&str>) -> Result<Material, &'static str> {
    if algorithm.is_some_and(|name| !name.starts_with("RS") && !name.starts_with("PS")) {
        return Err("its `alg` is not one of RSA");
    }
    let modulus = bytes(member, "n").ok_or("`n` is not base64url")?;
    let exponent = bytes(member, "e").ok_or("`e` is not base64url")?;
    let modulus = without_zeros(&modulus);
    // Not all of this is checked where a key is made, only where it is used.
    let bits =
        modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
    let key =
        (2048..=8192).contains(&bits).then(|| Material::rsa(modulus, without_zeros(&exponent)));
    key.flatten().ok_or("not an RSA public key of 2048 to 8192 bits")
}

fn ec(member: Member<'_, '_>, algorithm: Option<&str>) -> Result<Material, &'static str> {
    let curve = member("crv").ok_or("no `crv`")?;
    let (wanted, length): (_, usize) = match curve {
        "P-256" => ("ES256", 32),
        "P-384" => ("ES384", 48),
        "P-521" => ("ES512", 66),
        _ => return Err("`crv` is none of P-256, P-384, P-521"),
    };
    if algorithm.is_some_and(|name| name != wanted) {
        return Err("its `alg` does not belong to its `crv`");
    }
    let mut point = vec![4];
    for name in ["x", "y"] {
        let coordinate = bytes(member, name).ok_or("`x` or `y` is not base64url")?;
        let coordinate = without_zeros(&coordinate);
        let padding = length.checked_sub(coordinate.len()).ok_or("`x` or `y` is too long")?;
        point.extend(std::iter::repeat_n(0, padding));
        point.extend_from_slice(coordinate);
    }
    Material::ec(curve, &point).ok_or("the point is not on its curve")
}

fn ed25519(member: Member<'_, '_>, algorithm: Option<&str>) -> Result<Material, &'static str> {
    if member("crv") != Some("Ed25519") {
        return Err("`crv` is not Ed25519");
    }
    if algorithm.is_some_and(|name| name != "EdDSA") {
        return Err("its `alg` is not EdDSA");
    }
    let key = bytes(member, "x").ok_or("`x` is not base64url")?;
    Material::ed25519(&key).ok_or("`x` is not an Ed25519 public key")
}

fn secret(member: Member<'_, '_>, algorithm: Option<&str>) -> Result<Material, &'static str> {
    if algorithm.is_some_and(|name| !matches!(name, "HS256" | "HS384" | "HS512")) {
        return Err("its `alg` is none of HS256, HS384, HS512");
    }
    let key = bytes(member, "k").ok_or("`k` is not base64url")?;
    Material::secret(&key).ok_or("`k` is empty")
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
