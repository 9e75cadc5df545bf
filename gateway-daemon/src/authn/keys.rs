//! Key sets (RFC 7517). An entry that cannot verify a token is left out and named; the others
//! still count. A set without any usable key refuses its issuer's tokens and nothing else.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::claims::{Header, signed_part};
use super::failure::Failure;
use super::json;
use super::verify::Material;
use crate::model::identity::Claim;
use crate::model::jwt::KeySource;

/// Base64url; some issuers pad.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The keys of one rule, parsed.
pub(super) struct KeySet {
    keys: Vec<Key>,
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
    pub(super) fn compile(source: &KeySource) -> (Self, Vec<String>) {
        let mut notes = Vec::new();
        let entries = match source {
            KeySource::Inline(text) => entries(text),
            KeySource::Unusable => Ok(Vec::new()),
        };
        let entries = entries.unwrap_or_else(|why| {
            notes.push(format!("jwks: {why}"));
            Vec::new()
        });
        let mut keys = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            match Key::parse(entry) {
                Ok(key) => {
                    if key.material.is_short_secret() {
                        notes.push(format!("jwks: keys[{at}] is shorter than 32 bytes: guessable"));
                    }
                    keys.push(key);
                }
                Err(why) => notes.push(format!("jwks: keys[{at}] is left out: {why}")),
            }
        }
        (Self { keys }, notes)
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
        Err(failure)
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
    fn parse(entry: &Claim) -> Result<Self, &'static str> {
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
