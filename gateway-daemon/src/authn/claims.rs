//! A token taken apart: its sections, the header fields that choose a key, and the registered
//! claims (RFC 7519 4.1) with their types checked. Nothing here depends on a rule or on time.

use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};

use super::failure::Failure;
use super::json;
use super::verify::Algorithm;
use crate::clock::UnixSeconds;
use crate::model::identity::Claim;

/// Base64url without padding. Bits after the last whole byte are ignored as Envoy does: what was
/// changed or cut short there fails as a signature, not as an encoding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// What a token's header says that choosing a key needs. `crit`, `jku`, `jwk`, `x5u` and the like
/// are not read: no key but the rule's own is ever used.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    /// `kid`; empty is none.
    pub(super) key_id: Option<Box<str>>,
}

/// A well-formed token.
#[derive(Debug)]
pub(super) struct Jwt {
    pub(super) header: Header,
    /// `iss`.
    pub(super) issuer: Option<Box<str>>,
    /// `sub`.
    pub(super) subject: Option<Box<str>>,
    /// `nbf`; 0 where there is none.
    pub(super) not_before: u64,
    /// `exp`; 0, as in the token itself, is never.
    pub(super) expires: u64,
    /// `aud`.
    pub(super) audiences: Vec<Box<str>>,
    /// All claims: an object.
    pub(super) claims: Arc<Claim>,
    pub(super) signature: Vec<u8>,
}

impl Header {
    /// Reads the decoded header of a token.
    pub(super) fn parse(header: &[u8]) -> Result<Self, Failure> {
        let header = json::object(header).ok_or(Failure::HeaderJson)?;
        let algorithm = header.member("alg").and_then(Claim::as_str);
        let algorithm = algorithm.ok_or(Failure::AlgorithmMissing)?;
        let algorithm = Algorithm::named(algorithm).ok_or(Failure::AlgorithmUnknown)?;
        let key_id = text(&header, "kid", Failure::KeyIdType)?.filter(|id| !id.is_empty());
        Ok(Self { algorithm, key_id })
    }
}

impl Jwt {
    /// Takes a token apart; the first check that fails says so.
    pub(super) fn parse(token: &[u8]) -> Result<Self, Failure> {
        let [header, payload, signature] = sections(token).ok_or(Failure::Form)?;
        let header = Section::decode(header).ok_or(Failure::HeaderBase64)?;
        let mut is_strict = header.is_strict;
        let header = Header::parse(&header.bytes)?;
        let payload = Section::decode(payload).ok_or(Failure::PayloadBase64)?;
        is_strict &= payload.is_strict;
        let claims = json::object(&payload.bytes).ok_or(Failure::PayloadJson)?;
        let issuer = text(&claims, "iss", Failure::IssType)?;
        let subject = text(&claims, "sub", Failure::SubType)?;
        seconds(&claims, "iat", Failure::IatType, Failure::IatRange)?;
        let not_before = seconds(&claims, "nbf", Failure::NbfType, Failure::NbfRange)?;
        let expires = seconds(&claims, "exp", Failure::ExpType, Failure::ExpRange)?;
        text(&claims, "jti", Failure::JtiType)?;
        let audiences = audiences(&claims)?;
        let signature = Section::decode_signature(signature).ok_or(Failure::SignatureBase64)?;
        is_strict &= signature.is_strict;
        // No signature is one of a token that is not written as it has to be.
        let signature = if is_strict { signature.bytes } else { Vec::new() };
        let claims = Arc::new(claims);
        Ok(Self { header, issuer, subject, not_before, expires, audiences, claims, signature })
    }

    /// Checks `nbf`, then `exp`, against the clock, which may be off by `skew` seconds.
    pub(super) fn check_time(&self, now: UnixSeconds, skew: u64) -> Result<(), Failure> {
        if now.0.saturating_add(skew) < self.not_before {
            return Err(Failure::NotYetValid);
        }
        if self.is_expired(now, skew) {
            return Err(Failure::Expired);
        }
        Ok(())
    }

    /// Whether `exp` has passed for good.
    pub(super) fn is_expired(&self, now: UnixSeconds, skew: u64) -> bool {
        self.expires != 0 && now.0 > self.expires.saturating_add(skew)
    }
}

/// The three sections of a compact serialisation (RFC 7515 7.1), none of them empty. Five, as an
/// encrypted token has (RFC 7516), are not three.
pub(super) fn sections(token: &[u8]) -> Option<[&[u8]; 3]> {
    let mut parts = token.splitn(4, |byte| *byte == b'.');
    let three = [parts.next()?, parts.next()?, parts.next()?];
    let complete = parts.next().is_none() && three.iter().all(|part| !part.is_empty());
    complete.then_some(three)
}

/// What the signature is about: header and payload with the dot between them.
pub(super) fn signed_part(token: &[u8]) -> &[u8] {
    let end = memchr::memrchr(b'.', token).unwrap_or(token.len());
    &token[..end]
}

/// A decoded section.
pub(super) struct Section {
    pub(super) bytes: Vec<u8>,
    /// Whether it is written as RFC 7515 2 has it. Envoy reads over blanks and unused bits; here they
    /// only do not spoil the text of a refusal.
    pub(super) is_strict: bool,
}

impl Section {
    pub(super) fn decode(section: &[u8]) -> Option<Self> {
        if let Ok(bytes) = URL_SAFE_NO_PAD.decode(section) {
            return Some(Self { bytes, is_strict: true });
        }
        let filled: Vec<u8> = section.iter().copied().filter(|byte| !is_blank(*byte)).collect();
        Some(Self { bytes: LENIENT.decode(filled).ok()?, is_strict: false })
    }

    /// Decodes a signature, in which unused bits are nobody's business.
    pub(super) fn decode_signature(section: &[u8]) -> Option<Self> {
        let is_strict = !section.iter().copied().any(is_blank);
        Self::decode(section).map(|section| Self { is_strict, ..section })
    }
}

fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

fn text(object: &Claim, name: &str, wrong: Failure) -> Result<Option<Box<str>>, Failure> {
    match object.member(name) {
        None => Ok(None),
        Some(Claim::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong),
    }
}

/// A `NumericDate`; fractions are cut.
fn seconds(claims: &Claim, name: &str, wrong: Failure, range: Failure) -> Result<u64, Failure> {
    /// 2^64, the first double that does not fit.
    const LIMIT: f64 = 18_446_744_073_709_551_616.0;
    match claims.member(name) {
        None => Ok(0),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "in range, and the fraction is meant to go"
        )]
        Some(Claim::Number(value)) if (0.0..LIMIT).contains(value) => Ok(*value as u64),
        Some(Claim::Number(_)) => Err(range),
        Some(_) => Err(wrong),
    }
}

fn audiences(claims: &Claim) -> Result<Vec<Box<str>>, Failure> {
    match claims.member("aud") {
        None => Ok(Vec::new()),
        Some(Claim::String(one)) => Ok(vec![one.clone()]),
        Some(Claim::List(list)) => {
            let text = |item: &Claim| item.as_str().map(Box::from).ok_or(Failure::AudType);
            list.iter().map(text).collect()
        }
        Some(_) => Err(Failure::AudType),
    }
}
