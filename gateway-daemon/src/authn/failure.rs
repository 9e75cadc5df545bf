//! Why a token is refused: the checks in the order they are made, with Envoy's wording.

use super::Refusal;
use crate::model::reason::Reason;

macro_rules! failures {
    ($($name:ident => $reason:ident, $text:literal;)+) => {
        /// A failed check. Earlier checks come first.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub(super) enum Failure { $($name,)+ }

        impl From<Failure> for Refusal {
            fn from(failure: Failure) -> Self {
                match failure {
                    $(Failure::$name => Self { reason: Reason::$reason, text: $text },)+
                }
            }
        }
    };
}

failures! {
    Form => TokenMalformed,
        "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections";
    HeaderBase64 => TokenMalformed, "Jwt header is an invalid Base64url encoded";
    HeaderJson => TokenMalformed, "Jwt header is an invalid JSON";
    AlgorithmMissing => TokenAlgorithm, "Jwt header [alg] field is required and must be a string";
    AlgorithmUnknown => TokenAlgorithm, "Jwt header [alg] is not supported";
    KeyIdType => TokenMalformed, "Jwt header [kid] field is not a string";
    PayloadBase64 => TokenMalformed, "Jwt payload is an invalid Base64url encoded";
    PayloadJson => TokenMalformed, "Jwt payload is an invalid JSON";
    IssType => TokenClaimType, "Jwt payload [iss] field is not a string";
    SubType => TokenClaimType, "Jwt payload [sub] field is not a string";
    IatType => TokenClaimType, "Jwt payload [iat] field is not an integer";
    IatRange => TokenClaimType, "Jwt payload [iat] field is not a positive 64 bit integer";
    NbfType => TokenClaimType, "Jwt payload [nbf] field is not an integer";
    NbfRange => TokenClaimType, "Jwt payload [nbf] field is not a positive 64 bit integer";
    ExpType => TokenClaimType, "Jwt payload [exp] field is not an integer";
    ExpRange => TokenClaimType, "Jwt payload [exp] field is not a positive 64 bit integer";
    JtiType => TokenClaimType, "Jwt payload [jti] field is not a string";
    AudType => TokenClaimType, "Jwt payload [aud] field is not a string or string list";
    SignatureBase64 => TokenMalformed, "Jwt signature is an invalid Base64url encoded";
    Issuer => TokenIssuer, "Jwt issuer is not configured";
    NotYetValid => TokenNotYetValid, "Jwt not yet valid";
    Expired => TokenExpired, "Jwt is expired";
    Audience => TokenAudience, "Audiences in Jwt are not allowed";
    KeyUnknown => TokenKeyUnknown, "Jwks doesn't have key to match kid or alg from Jwt";
    KeysUnavailable => TokenKeysUnavailable, "Jwt verification fails";
    ClaimMissing => TokenClaimMissing, "Jwt verification fails";
    Signature => TokenSignature, "Jwt verification fails";
    Ed25519Length => TokenSignature, "Jwt ED25519 signature is wrong length";
}
