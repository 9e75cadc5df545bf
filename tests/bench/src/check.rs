//! Whether all gateways do the same: asked by curl before anything is measured.

use anyhow::{Result, bail};

use crate::field::{Field, Gateway};
use crate::material::Tokens;
use crate::scenario::{FREE, LARGE, PROTECTED};
use crate::shell;

/// A question and what curl has to say: status, bytes of the body, version of HTTP.
struct Row {
    what: &'static str,
    path: &'static str,
    tokens: Tokens,
    tls: &'static [&'static str],
    expected: &'static str,
}

const PLAIN: Row =
    Row { what: "plain", path: FREE, tokens: Tokens::None, tls: &[], expected: "200 195 1.1" };
const PAGE: Row = Row {
    what: "a token",
    path: PROTECTED,
    tokens: Tokens::One,
    expected: "200 4294 1.1",
    ..PLAIN
};

/// What every gateway does.
const ALWAYS: [Row; 3] =
    [PLAIN, PAGE, Row { what: "1 MiB", path: LARGE, expected: "200 1048576 1.1", ..PLAIN }];
/// What those do that read tokens. Only the status is the same everywhere.
const AUTHENTICATION: [Row; 5] = [
    Row { what: "an ES256 token", tokens: Tokens::Ec, ..PAGE },
    Row { what: "no token", tokens: Tokens::None, expected: "403 ", ..PAGE },
    Row { what: "a forged token", tokens: Tokens::Bad, expected: "401 ", ..PAGE },
    Row { what: "one on a free path", tokens: Tokens::Bad, expected: "401 ", ..PLAIN },
    Row { what: "an RS256 token", tokens: Tokens::Rsa, ..PAGE },
];
/// What those do that end TLS.
const TLS: [Row; 2] = [
    Row { what: "TLS 1.3", tls: &["--http1.1", "--tlsv1.3"], ..PAGE },
    Row { what: "HTTP/2 by ALPN", tls: &["--http2"], expected: "200 4294 2", ..PAGE },
];

/// Asks everything that a gateway should be able to answer.
pub(crate) fn check(field: &Field, gateway: &Gateway) -> Result<()> {
    let peer = gateway.entry.peer;
    let mut rows: Vec<&Row> = ALWAYS.iter().collect();
    if peer.authenticates() {
        rows.extend(&AUTHENTICATION);
    }
    if peer.ends_tls() {
        rows.extend(&TLS);
    }
    for row in rows {
        let answer = ask(field, gateway, row)?;
        if !answer.starts_with(row.expected) {
            let name = gateway.entry.name();
            bail!("{name}, {}: `{answer}` where `{}` is expected", row.what, row.expected);
        }
    }
    Ok(())
}

fn ask(field: &Field, gateway: &Gateway, row: &Row) -> Result<String> {
    let tls = !row.tls.is_empty();
    let scheme = if tls { "https" } else { "http" };
    let url = format!("{scheme}://{}{}", gateway.port(tls), row.path);
    let header = format!("Authorization: Bearer {}", field.material.token(row.tokens)?);
    let format = "%{http_code} %{size_download} %{http_version}";
    let mut words = vec!["-s", "-k", "--noproxy", "*", "-m", "10", "-o", "/dev/null", "-w", format];
    if row.tokens != Tokens::None {
        words.extend(["-H", &header]);
    }
    words.extend(row.tls);
    words.push(&url);
    shell::run("curl", &words)
}
