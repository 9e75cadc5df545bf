//! The manifests as text. Values are quoted unless nobody could take them for anything but text.

use std::fmt::{Display, Write as _};

use super::form::{Form, Keys, Operation};

/// Writes both objects.
pub(super) fn write(form: &Form) -> String {
    let mut out = Text(String::new());
    out.head(form, "RequestAuthentication");
    out.line(2, "jwtRules:");
    out.line(2, format_args!("- issuer: {}", scalar(&form.issuer)));
    match &form.keys {
        Keys::Inline(text) => out.line(4, format_args!("jwks: {}", scalar(text))),
        Keys::Uri(uri) => out.line(4, format_args!("jwksUri: {}", scalar(uri))),
    }
    out.list(4, "audiences", &form.audiences);
    if !form.headers.is_empty() {
        out.line(4, "fromHeaders:");
        for (name, prefix) in &form.headers {
            out.line(4, format_args!("- name: {}", scalar(name)));
            if !prefix.is_empty() {
                out.line(6, format_args!("prefix: {}", scalar(prefix)));
            }
        }
    }
    out.list(4, "fromParams", &form.params);
    if form.passthrough {
        out.line(4, "forwardOriginalToken: true");
    }
    if let Some(header) = &form.payload_header {
        out.line(4, format_args!("outputPayloadToHeader: {}", scalar(header)));
    }
    if !form.claim_headers.is_empty() {
        out.line(4, "outputClaimToHeaders:");
        for (claim, header) in &form.claim_headers {
            out.line(4, format_args!("- claim: {}", scalar(claim)));
            out.line(6, format_args!("header: {}", scalar(header)));
        }
    }
    out.line(0, "---");
    out.head(form, "AuthorizationPolicy");
    out.line(2, "action: DENY");
    out.line(2, "rules:");
    out.line(2, "- from:");
    out.line(4, "- source:");
    out.list(8, "notRequestPrincipals", &["*".to_owned()]);
    if !form.operations.is_empty() {
        out.line(4, "to:");
    }
    for Operation { fields } in &form.operations {
        out.line(4, "- operation:");
        for (name, values) in fields {
            out.list(8, name, values);
        }
    }
    out.0
}

struct Text(String);

impl Text {
    fn line(&mut self, indent: usize, text: impl Display) {
        // Writing to a String cannot fail.
        let written = writeln!(self.0, "{:indent$}{text}", "");
        debug_assert!(written.is_ok());
    }

    fn list(&mut self, indent: usize, name: &str, values: &[String]) {
        if values.is_empty() {
            return;
        }
        self.line(indent, format_args!("{name}:"));
        for value in values {
            self.line(indent, format_args!("- {}", scalar(value)));
        }
    }

    /// Up to what is of one kind alone.
    fn head(&mut self, form: &Form, kind: &str) {
        self.line(0, "apiVersion: security.istio.io/v1");
        self.line(0, format_args!("kind: {kind}"));
        self.line(0, "metadata:");
        self.line(2, format_args!("name: {}", scalar(&form.name)));
        self.line(2, format_args!("namespace: {}", scalar(&form.namespace)));
        self.line(0, "spec:");
        if let Some(gateway) = &form.gateway {
            self.line(2, "targetRefs:");
            self.line(2, "- group: gateway.networking.k8s.io");
            self.line(4, "kind: Gateway");
            self.line(4, format_args!("name: {}", scalar(gateway)));
        }
    }
}

/// A text as YAML: plain, in single quotes, or as JSON where it holds control characters.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '@');
    let words = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let is_word = words.iter().any(|word| text.eq_ignore_ascii_case(word));
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    if begins && text.chars().all(plain) && !is_word {
        text.to_owned()
    } else if text.chars().any(char::is_control) {
        serde_json::Value::from(text).to_string()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}
