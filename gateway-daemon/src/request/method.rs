//! Methods that the gateway carries.

use http::Method;

use crate::model::reason::Reason;

/// Registered methods (IANA) and those of Envoy's parser, besides the ones of RFC 9110. Anything
/// else, such as `get`, is refused: a policy about `GET` would not see it, and an upstream that
/// compares without regard to case would.
const EXTENSIONS: [&str; 36] = [
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "LABEL",
    "LINK",
    "LOCK",
    "M-SEARCH",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "NOTIFY",
    "ORDERPATCH",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SOURCE",
    "SUBSCRIBE",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UNSUBSCRIBE",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

/// Refuses methods that are not carried. `CONNECT` asks for a tunnel, which this is not.
pub(super) fn check(method: &Method) -> Result<(), Reason> {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::DELETE
        | Method::OPTIONS
        | Method::PATCH
        | Method::TRACE => Ok(()),
        Method::CONNECT => Err(Reason::NotSupported),
        _ if EXTENSIONS.binary_search(&method.as_str()).is_ok() => Ok(()),
        _ => Err(Reason::MalformedRequest),
    }
}
