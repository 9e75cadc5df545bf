//! Token rules: `jwtRules` of RequestAuthentication, validated.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::keys::RemoteKeys;
use super::object::ObjectRef;

/// Where a rule's keys come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeySource {
    /// The text of an inline JWK set, as configured; known to be a JSON object with `keys`.
    Inline(Arc<str>),
    /// Fetched by the control side.
    Remote(Arc<RemoteKeys>),
    /// In a file that a JWTPolicy names for some Gateways; for the others there are none.
    Elsewhere,
    /// None that is usable: tokens of the issuer are refused, nothing else is affected.
    Unusable,
}

/// A header that may carry a token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenHeader {
    /// Header name.
    pub name: HeaderName,
    /// Text before the token, used literally; empty: the whole value is the token.
    pub prefix: Arc<str>,
}

/// Where a rule looks for tokens. All empty: the default places (`Authorization: Bearer ` and
/// query parameter `access_token`).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TokenPlaces {
    /// Headers (`fromHeaders`).
    pub headers: Vec<TokenHeader>,
    /// Query parameters (`fromParams`).
    pub params: Vec<Arc<str>>,
    /// Cookies (`fromCookies`).
    pub cookies: Vec<Arc<str>>,
}

/// A claim copied to a header (`outputClaimToHeaders`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimToHeader {
    /// Header name.
    pub header: HeaderName,
    /// Claim, a path split at dots.
    pub claim: Arc<str>,
}

/// How a list or object claim stands in a header.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ClaimFormat {
    /// JSON in standard base64, as Envoy does it.
    #[default]
    Envoy,
    /// JSON.
    Json,
    /// Items of a list with a comma between them; an object as JSON.
    CommaList,
}

/// One entry of `jwtRules`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JwtRule {
    /// The RequestAuthentication.
    pub object: ObjectRef,
    /// Position in its `jwtRules`.
    pub index: usize,
    /// Issuer, compared byte for byte with `iss`.
    pub issuer: Arc<str>,
    /// Audiences; empty: not checked.
    pub audiences: Vec<Arc<str>>,
    /// Keys.
    pub keys: KeySource,
    /// Where tokens are looked for.
    pub places: TokenPlaces,
    /// Whether the upstream still gets the token.
    pub forward_original_token: bool,
    /// Header that gets the token's payload section.
    pub output_payload_to_header: Option<HeaderName>,
    /// Claims copied to headers.
    pub output_claim_to_headers: Vec<ClaimToHeader>,
    /// Claims split at blanks besides `scope` and `permission`.
    pub space_delimited_claims: Vec<Arc<str>>,
    /// How far `nbf` and `exp` may be off.
    pub clock_skew: Duration,
    /// Claims that have to be there, whatever their value.
    pub required_claims: Vec<Arc<str>>,
    /// How list and object claims stand in output headers.
    pub claim_format: ClaimFormat,
}

impl JwtRule {
    /// The usual clock skew, Envoy's.
    pub const CLOCK_SKEW: Duration = Duration::from_mins(1);

    /// What a rule says that names an issuer and keys only.
    pub fn new(object: ObjectRef, issuer: Arc<str>, keys: KeySource) -> Self {
        Self {
            object,
            index: 0,
            issuer,
            audiences: Vec::new(),
            keys,
            places: TokenPlaces::default(),
            forward_original_token: false,
            output_payload_to_header: None,
            output_claim_to_headers: Vec::new(),
            space_delimited_claims: Vec::new(),
            clock_skew: Self::CLOCK_SKEW,
            required_claims: Vec::new(),
            claim_format: ClaimFormat::default(),
        }
    }
}
