//! Why a token is refused: the checks in the order they are made, with Envoy's wording.

use gateway_common::bans::BanReason;

use super::Refusal;
use crate::model::reason::Reason;

macro_rules! failures {
    ($($name:ident => $reason:ident, $text:literal;)+) => {
        /// A failed check. Earlier checks come first.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub(super) enum Failure { $($name,)+ }

        impl Failure {
            /// The reason word.
            const fn reason(self) -> Reason {
                match self { $(Failure::$name => Reason::$reason,)+ }
            }
        }

        impl From<Failure> for Refusal {
            fn from(failure: Failure) -> Self {
                let text = match failure { $(Failure::$name => $text,)+ };
                Self { reason: failure.reason(), text, strike: failure.strike() }
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
    SignatureOfWhom => TokenSignature, "Jwt verification fails";
    Ed25519Length => TokenSignature, "Jwt ED25519 signature is wrong length";
}

impl Failure {
    /// Which of two failures is told, this one being the later: the later one, unless it only says
    /// that the token is of another issuer.
    pub(super) fn after(self, earlier: Option<Self>) -> Self {
        earlier.filter(|_| self == Self::Issuer).unwrap_or(self)
    }

    /// What a token that fails so counts as against its source: only what nobody does who has a
    /// token of a known issuer, however old or for whatever else it may be.
    fn strike(self) -> Option<BanReason> {
        match (self, self.reason()) {
            (Self::SignatureOfWhom, _) => None,
            (_, Reason::TokenSignature) => Some(BanReason::TokenSignature),
            (_, Reason::TokenMalformed) => Some(BanReason::TokenMalformed),
            (_, Reason::TokenAlgorithm) => Some(BanReason::TokenAlgorithm),
            (_, Reason::TokenClaimType) => Some(BanReason::TokenClaimType),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_forged_and_malformed_tokens_are_strikes() {
        let rows = [
            (Failure::Form, true),
            (Failure::HeaderJson, true),
            (Failure::AlgorithmUnknown, true),
            (Failure::AudType, true),
            (Failure::Signature, true),
            (Failure::Ed25519Length, true),
            (Failure::SignatureOfWhom, false),
            (Failure::Issuer, false),
            (Failure::NotYetValid, false),
            (Failure::Expired, false),
            (Failure::Audience, false),
            (Failure::KeyUnknown, false),
            (Failure::KeysUnavailable, false),
            (Failure::ClaimMissing, false),
        ];
        for (failure, counts) in rows {
            let Refusal { reason, strike, .. } = failure.into();
            assert_eq!(strike.is_some(), counts, "{failure:?}");
            if let Some(strike) = strike {
                assert_eq!(strike.word(), reason.word(), "{failure:?}");
            }
        }
    }
}
