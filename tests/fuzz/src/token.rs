//! Tokens: only an issuer makes one that is accepted, whatever it says is told to policies and to the
//! upstream without harm, and a remembered token is judged as a new one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_daemon::authn::{Authenticator, CacheLimits, Refusal, TokenCache};
use gateway_daemon::authz::Consultation;
use gateway_daemon::model::reason::Reason;
use gateway_daemon::request::RequestView;
use http::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};
use serde_json::Value;

use super::setting::{NOW, RESERVED, conn, signed, snapshot};

/// A payload that every rule of the setting would accept.
const GOOD: &[u8] = br#"{"iss":"https://a.test","sub":"alice"}"#;

/// The first byte says what the others are: `t` a token, `p` the payload of a signed one, `h` the
/// header of a signed one.
pub fn holds(bytes: &[u8]) {
    match bytes.split_first() {
        Some((b't', token)) => only_issuers_are_believed(token),
        Some((b'p', payload)) => claims_do_no_harm(payload),
        Some((b'h', header)) => headers_choose_among_keys(header),
        _ => {}
    }
}

fn only_issuers_are_believed(token: &[u8]) {
    let Some(verdict) = show(token) else { return };
    // What comes before a token, and blanks after it, are no part of it.
    let begins = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let token = &token[token.iter().position(begins).unwrap_or(token.len())..];
    let token = token.trim_ascii_end();
    // What has no form for one reader has none for another.
    let form = Authenticator::form(token).err().map(|refusal| refusal.reason);
    if let Err(refusal) = &verdict {
        let malformed = matches!(
            refusal.reason,
            Reason::TokenMalformed | Reason::TokenAlgorithm | Reason::TokenClaimType
        );
        assert!(!malformed || form == Some(refusal.reason), "{form:?} against {refusal:?}");
        return;
    }
    // Accepted: it is signed, by the one algorithm that the one shared secret of the setting has.
    let text = std::str::from_utf8(token).expect("base64url is ASCII");
    let mut sections = text.split('.');
    let mut next = || URL_SAFE_NO_PAD.decode(sections.next().unwrap_or_default());
    let (header, payload) = (next().expect("a header"), next().expect("a payload"));
    let (message, _) = text.rsplit_once('.').expect("a signature");
    let own = signed(&header, &payload);
    assert!(own.starts_with(message), "{text} is none of the issuer's");
}

fn claims_do_no_harm(payload: &[u8]) {
    let token = signed(br#"{"alg":"HS256"}"#, payload);
    let Some(verdict) = show(token.as_bytes()) else { return };
    let json = serde_json::from_slice::<Value>(payload);
    match verdict {
        Ok(subject) => {
            let json = json.expect("what is accepted is JSON");
            assert_eq!(json["iss"], "https://a.test");
            assert_eq!(json["sub"].as_str(), subject.as_deref());
        }
        Err(refusal) => assert_ne!(refusal.reason, Reason::TokenSignature, "it is signed"),
    }
}

fn headers_choose_among_keys(header: &[u8]) {
    let token = signed(header, GOOD);
    if let Some(Ok(_)) = show(token.as_bytes()) {
        let header: Value = serde_json::from_slice(header).expect("what is accepted is JSON");
        assert_eq!(header["alg"], "HS256");
    }
}

/// Shows a token, twice to one cache; none where no header carries it. The subject of who is
/// believed, or the refusal.
fn show(token: &[u8]) -> Option<Result<Option<String>, Refusal>> {
    let mut cache = TokenCache::new(CacheLimits::LEAST);
    let first = authenticate(token, &mut cache)?;
    let second = authenticate(token, &mut cache)?;
    assert_eq!(first, second, "the cache changes the verdict");
    Some(first)
}

fn authenticate(token: &[u8], cache: &mut TokenCache) -> Option<Result<Option<String>, Refusal>> {
    let mut view = view(token)?;
    let gateway = &snapshot().gateways[0];
    let authenticated = match gateway.authenticator.authenticate(&mut view, NOW, cache) {
        Ok(authenticated) => authenticated,
        Err(refusal) => return Some(Err(refusal)),
    };
    let identity = authenticated.identity.expect("a token is never overlooked");
    assert!(!view.headers().contains_key(AUTHORIZATION), "the token goes");
    for (name, value) in view.headers() {
        assert_ne!(value, "spoof", "{name}");
    }
    for name in RESERVED {
        let values: Vec<_> = view.headers().get_all(name).iter().collect();
        assert!(values.len() <= 1, "{name} is written once: {values:?}");
        let bad = |byte: &u8| *byte < b' ' && *byte != b'\t' || *byte == 0x7f;
        assert!(!values.iter().any(|value| value.as_bytes().iter().any(bad)), "{name}");
    }
    let conn = conn();
    let consultation = gateway.engine.consult(&view, &conn);
    let Ok(Consultation::Vetted(vetted)) = consultation else { panic!("{consultation:?}") };
    let decision = gateway.engine.decide(vetted, &view, &conn, Some(&identity));
    let rules = gateway.engine.trace(&view, &conn, Some(&identity));
    let matches = rules.iter().any(|rule| !rule.shadow && rule.obstacles.is_empty());
    assert!(decision.is_err() || matches, "allowed by a rule that says why");
    Some(Ok(identity.subject.as_deref().map(str::to_owned)))
}

/// A request with a bearer token, and with headers that no client may send.
fn view(token: &[u8]) -> Option<RequestView> {
    let bearer = HeaderValue::from_bytes(&[b"Bearer ", token].concat()).ok()?;
    let mut parts = http::Request::new(()).into_parts().0;
    parts.headers.insert(HOST, HeaderValue::from_static("gw.test"));
    parts.headers.insert(AUTHORIZATION, bearer);
    for name in ["x-payload", "x-sub", "x_sub", "x.deep", "x-list"] {
        parts.headers.insert(HeaderName::from_static(name), HeaderValue::from_static("spoof"));
    }
    let view = RequestView::read(parts, &conn()).expect("a good head");
    // What looks like no token at all is somebody else's matter.
    let value = view.headers().get(AUTHORIZATION)?.as_bytes();
    value.trim_ascii_end().starts_with(b"Bearer ").then_some(view)
}
