//! Why a request was refused: one fixed word per reason, the same in the access log, the metrics
//! and the counters. What the client is told is `proxy/respond.rs`'s choice and says less.

use gateway_common::reasons::ReasonCounters;
use gateway_common::verdict::RequestVerdict;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal => $verdict:ident;)+) => {
        /// Why a request did not get the upstream's answer.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The word for this reason.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// Its word in a row of [`ReasonCounters`].
            pub const fn counter(self) -> usize {
                match self {
                    $(Self::$name => const {
                        match ReasonCounters::word($word) {
                            Some(word) => word,
                            None => panic!("add a field to gateway_common::reasons"),
                        }
                    },)+
                }
            }

            /// The verdict that a request refused for this reason counts under.
            pub const fn verdict(self) -> RequestVerdict {
                match self { $(Self::$name => RequestVerdict::$verdict,)+ }
            }
        }
    };
}

reasons! {
    /// The token is not three non-empty base64url sections, or its JSON is not what RFC 7519 says.
    TokenMalformed = "token_malformed" => Unauthenticated;
    /// The header's `alg` is missing, `none`, or not supported.
    TokenAlgorithm = "token_algorithm" => Unauthenticated;
    /// A registered claim has the wrong JSON type.
    TokenClaimType = "token_claim_type" => Unauthenticated;
    /// No rule names the token's issuer.
    TokenIssuer = "token_issuer" => Unauthenticated;
    /// `nbf` is in the future.
    TokenNotYetValid = "token_not_yet_valid" => Unauthenticated;
    /// `exp` has passed.
    TokenExpired = "token_expired" => Unauthenticated;
    /// No `aud` entry is one the rule accepts.
    TokenAudience = "token_audience" => Unauthenticated;
    /// No key of the issuer fits the token's `kid` and `alg`.
    TokenKeyUnknown = "token_key_unknown" => Unauthenticated;
    /// The issuer has no usable keys at present.
    TokenKeysUnavailable = "token_keys_unavailable" => Unauthenticated;
    /// A claim that the issuer's tokens must have is not there.
    TokenClaimMissing = "token_claim_missing" => Unauthenticated;
    /// The signature is wrong.
    TokenSignature = "token_signature" => Unauthenticated;
    /// A policy refused a request that brought no token, and the Gateway asks for one.
    TokenMissing = "token_missing" => Unauthenticated;
    /// The provider of a CUSTOM policy said no.
    ExtAuthzDenied = "ext_authz_denied" => Denied;
    /// The provider of a CUSTOM policy is unknown, could not be asked, or answered nonsense.
    ExtAuthzError = "ext_authz_error" => Denied;
    /// The body is longer than what a provider may be shown (413).
    BodyTooLarge = "body_too_large" => BadRequest;
    /// A DENY policy matched.
    PolicyDenied = "policy_denied" => Denied;
    /// ALLOW policies exist and none matched.
    PolicyNotAllowed = "policy_not_allowed" => Denied;
    /// No route matches.
    NoRoute = "no_route" => NotFound;
    /// The framing or head is malformed (RFC 9112, RFC 9113).
    MalformedRequest = "malformed_request" => BadRequest;
    /// Both Content-Length and Transfer-Encoding, or another framing that could smuggle.
    AmbiguousFraming = "ambiguous_framing" => BadRequest;
    /// No Host, several, or one that contradicts the authority.
    HostInvalid = "host_invalid" => BadRequest;
    /// The path holds what no path may hold, such as `%00`.
    PathInvalid = "path_invalid" => BadRequest;
    /// The head is over its size or field limit.
    HeadTooLarge = "head_too_large" => BadRequest;
    /// The head did not arrive in time.
    HeadTimeout = "head_timeout" => BadRequest;
    /// The TLS server name and the authority belong to different listeners (421).
    Misdirected = "misdirected" => BadRequest;
    /// A transfer coding or a method that the gateway does not carry (501).
    NotSupported = "not_supported" => BadRequest;
    /// A limit of the gateway was reached.
    Overloaded = "overloaded" => Limited;
    /// The rule's backend does not resolve.
    BackendUnresolved = "backend_unresolved" => NoBackend;
    /// No endpoint of the backend is ready.
    NoEndpoint = "no_endpoint" => UpstreamError;
    /// The upstream refused or broke the connection.
    UpstreamConnection = "upstream_connection" => UpstreamError;
    /// The upstream's answer is broken HTTP.
    UpstreamProtocol = "upstream_protocol" => UpstreamError;
    /// The upstream did not answer in time.
    UpstreamTimeout = "upstream_timeout" => UpstreamTimeout;
    /// The client is banned, behind a proxy that is trusted to say who it is.
    BannedClient = "banned_client" => Denied;
    /// The client went away.
    ClientGone = "client_gone" => Aborted;
}
