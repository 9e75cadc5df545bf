//! Wycheproof's vectors for JSON Web Signatures and Keys: what is valid verifies, what is not is
//! refused. Payloads are not claims there, so key sets are asked directly.

use std::path::Path;

use serde_json::Value;

use crate::authn::claims::{Header, Section, sections};
use crate::authn::keys::KeySet;
use crate::model::jwt::KeySource;

/// Vectors that we judge otherwise: group (`*`: any), vector, reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("*", "emptyPayload", "the payload of a JWT is a JSON object"),
    ("rfc7520", "Figure20", "the key says PS256, the token PS384"),
    ("rfc7520WithKeyOps", "Figure20", "the key says PS256, the token PS384"),
    ("rfc7520", "Figure27", "the key says ES521, which is no algorithm"),
    ("rfc7520WithKeyOps", "Figure27", "the key says ES521, which is no algorithm"),
    ("base64", "invalidBase64Padding", "the same token as the valid first vector"),
    ("base64", "invalidBase64PaddingInPayload", "the same token as the valid first vector"),
    ("base64", "InvalidCharacterInsertedInHeader", "a question mark is not base64url"),
    ("base64", "InvalidCharacterInsertedInPayload", "a question mark is not base64url"),
    ("rsa_encryption", "rejectWrongUse", "`use` is ignored, as in Envoy"),
    ("ec_key_for_encryption", "rejectWrongUse", "`use` is ignored, as in Envoy"),
    ("invalid_use", "rejectsModifiedKey", "`use` is ignored, as in Envoy"),
    ("rsa_encryption", "rejectWrongKeyOps", "`key_ops` is ignored, as in Envoy"),
    ("ec_key_for_encryption", "rejectWrongKeyOps", "`key_ops` is ignored, as in Envoy"),
    ("jws_mixedSymmetryKeyset", "rejectsValid", "sets may mix secrets and public keys"),
    ("jws_duplicate_kid", "rejectsDuplicateKid", "keys may share a `kid`, all are tried"),
    ("jws_rsa_roca_key", "rejectsKeyWithRocaVulnerability", "how a key was made is not asked"),
    ("HS256", "key_too_short", "taken with a warning, as Istio takes it"),
    ("HS384", "key_too_short", "taken with a warning, as Istio takes it"),
    ("HS512", "key_too_short", "taken with a warning, as Istio takes it"),
    ("jwe_aes", "acceptsValid", "encrypted tokens are out of scope: all are refused"),
    ("jwe_ec", "acceptsValid", "encrypted tokens are out of scope: all are refused"),
];

fn vectors(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors").join(name);
    let Ok(text) = std::fs::read_to_string(&path) else {
        let is_ci = std::env::vars().any(|(name, _)| name == "CI");
        assert!(!is_ci, "{} is missing", path.display());
        eprintln!("{} is missing: nothing to check", path.display());
        return Vec::new();
    };
    let file: Value = serde_json::from_str(&text).unwrap();
    file["testGroups"].as_array().unwrap().clone()
}

/// The public half of a group's key, as a key set.
fn key_set(group: &Value) -> KeySet {
    let key = if group["public"].is_null() { &group["private"] } else { &group["public"] };
    let set =
        if key["keys"].is_null() { serde_json::json!({ "keys": [key] }) } else { key.clone() };
    KeySet::compile(&KeySource::Inline(set.to_string().into()), &|_| None).0
}

fn accepts(keys: &KeySet, token: &str) -> bool {
    let Some([header, payload, signature]) = sections(token.as_bytes()) else {
        return false;
    };
    let (header, payload) = (Section::decode(header), Section::decode(payload));
    let (Some(header), Some(payload)) = (header, payload) else { return false };
    match (Header::parse(&header.bytes), Section::decode_signature(signature)) {
        (Ok(parsed), Some(signature)) => {
            let is_strict = header.is_strict && payload.is_strict && signature.is_strict;
            is_strict && keys.verify(&parsed, token.as_bytes(), &signature.bytes).is_ok()
        }
        _ => false,
    }
}

#[test]
fn vectors_are_judged_as_wycheproof_says() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for name in
        ["json_web_signature_test.json", "json_web_key_test.json", "json_web_crypto_test.json"]
    {
        for group in vectors(name) {
            let comment = group["comment"].as_str().unwrap_or_default();
            let keys = key_set(&group);
            for test in group["tests"].as_array().unwrap() {
                let vector = test["comment"].as_str().unwrap_or_default();
                let token = test["jws"].as_str().or(test["jwe"].as_str()).unwrap_or_default();
                let expected = test["result"] == "valid";
                let excepted =
                    EXCEPTIONS.iter().any(|(g, v, _)| (*g == "*" || *g == comment) && *v == vector);
                count += 1;
                if (accepts(&keys, token) == expected) == excepted {
                    wrong.push(format!("{name} {comment} {} {vector}: {expected}", test["tcId"]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "of {count}:\n{}", wrong.join("\n"));
}
