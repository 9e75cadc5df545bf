//! Wire words: Kubernetes, Gateway API and Istio objects as their authors spell them. A file per
//! kind; `control/translate/` gives them meaning.
//!
//! Unknown fields are refused. A field that the API has and we do not support yet is there as
//! [`Unsupported`], so that it is refused with its own words instead of being ignored. A field
//! that cannot matter to a gateway is [`Ignored`]. Must not hold behaviour, and must not be
//! imported outside `control/`.

pub(crate) mod authorization_policy;
pub(crate) mod endpoint_slice;
pub(crate) mod ext_authz_provider;
pub(crate) mod gateway;
pub(crate) mod gateway_class;
pub(crate) mod http_route;
pub(crate) mod jwt_policy;
pub(crate) mod meta;
pub(crate) mod namespace;
pub(crate) mod proxy_config;
pub(crate) mod reference_grant;
pub(crate) mod request_authentication;
pub(crate) mod secret;
pub(crate) mod selector;
pub(crate) mod service;
mod unsupported;

pub(crate) use unsupported::Unsupported;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// A field that cannot matter to a gateway.
pub(crate) type Ignored = Option<IgnoredAny>;

/// An object with a `spec`. `apiVersion` and `kind` have chosen its type already.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Manifest<S> {
    #[serde(rename = "apiVersion")]
    _api_version: Ignored,
    #[serde(rename = "kind")]
    _kind: Ignored,
    pub(crate) metadata: meta::ObjectMeta,
    pub(crate) spec: S,
    #[serde(rename = "status")]
    _status: Ignored,
}

/// A port number, 1 to 65535.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "i64")]
pub(crate) struct Port(pub(crate) u16);

impl TryFrom<i64> for Port {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        u16::try_from(number)
            .ok()
            .filter(|port| *port != 0)
            .map(Self)
            .ok_or_else(|| format!("{number} is not a port; use 1 to 65535"))
    }
}

/// An enumeration of words, of which some are known but not supported yet.
macro_rules! words {
    (
        $(#[$meta:meta])*
        $name:ident { $($word:literal => $variant:ident,)+ }
        unsupported { $($later:literal),* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) enum $name { $($variant,)+ }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                match text.as_str() {
                    $($word => Ok(Self::$variant),)+
                    $($later => Err(serde::de::Error::custom(concat!(
                        "value \"", $later, "\" is not supported yet"
                    ))),)*
                    _ => Err(serde::de::Error::unknown_variant(&text, &[$($word,)+])),
                }
            }
        }
    };
}
pub(crate) use words;
