//! Keys of issuers: fetched over TLS of a private authority from a server that is killed, slowed,
//! rotated and made to lie. One namespace each; the kernel half has no part in it.

use anyhow::Result;
use gateway_tests::curl::{Answer, curl};
use gateway_tests::daemon::{Daemon, Start};
use gateway_tests::issuer::{Authority, Behaviour, IssuerServer, Proxy, SigningKey, jwks};
use gateway_tests::manifests::{self, Manifests};
use gateway_tests::netns::Netns;
use gateway_tests::origin::Origin;
use gateway_tests::raw::Client;
use tempfile::TempDir;

const URL: &str = "http://127.0.0.1:8080/x";
const UNAVAILABLE: &str = "Jwt verification fails";
const UNKNOWN: &str = "Jwks doesn't have key to match kid or alg from Jwt";

/// A namespace with an origin, a certificate authority and manifests; the daemon comes later.
struct Ground {
    netns: Netns,
    authority: Authority,
    manifests: Manifests,
    key: SigningKey,
    state: TempDir,
    _origin: Origin,
}

impl Ground {
    fn new() -> Result<Self> {
        let netns = Netns::new()?;
        let origin = Origin::echo(Some(&netns))?;
        let manifests = Manifests::new()?;
        let listener = manifests::http_listener("http", 8080);
        manifests.write("base.yaml", &manifests::base(&listener, origin.address))?;
        let authority = Authority::new()?;
        std::fs::write(manifests.path().join("ca.pem"), &authority.pem)?;
        let key = SigningKey::new("k1")?;
        let state = tempfile::tempdir()?;
        Ok(Self { netns, authority, manifests, key, state, _origin: origin })
    }

    /// A server that serves the ground's key at `/keys`.
    fn issuer(&self) -> Result<IssuerServer> {
        self.issuer_at(0)
    }

    fn issuer_at(&self, port: u16) -> Result<IssuerServer> {
        let issuer = IssuerServer::start(&self.netns, &self.authority, port, None)?;
        issuer.on("/keys", Behaviour::ok("", &jwks(&[&self.key])));
        Ok(issuer)
    }

    /// Token rules, one per issuer and URL.
    fn rules(&self, rules: &[(&str, &str)]) -> Result<()> {
        let rules: Vec<String> = rules
            .iter()
            .map(|(issuer, uri)| {
                format!("  - {{ issuer: \"{issuer}\", jwksUri: \"{uri}\", timeout: 2s }}\n")
            })
            .collect();
        self.request_authentication(&rules.concat())
    }

    fn request_authentication(&self, rules: &str) -> Result<()> {
        let text = format!(
            "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\n\
             metadata: {{ name: jwt, namespace: default }}\nspec:\n  jwtRules:\n{rules}"
        );
        self.manifests.write("jwt.yaml", &text)?;
        Ok(())
    }

    /// The daemon, allowed to fetch from here.
    fn daemon(&self) -> Result<Daemon> {
        self.daemon_with(&["--jwks-allow-private"])
    }

    fn daemon_with(&self, more: &[&str]) -> Result<Daemon> {
        let ca = self.manifests.path().join("ca.pem");
        let (ca, state) = (ca.to_string_lossy(), self.state.path().to_string_lossy());
        let mut arguments = vec!["--datapath", "off", "--workers", "2", "--jwks-ca", &ca];
        arguments.extend(["--state-directory", &state]);
        arguments.extend(more);
        Start { netns: Some(&self.netns), config: self.manifests.path(), arguments: &arguments }
            .ready()
    }

    fn get(&self, token: Option<&str>) -> Result<Answer> {
        let header = token.map(|token| format!("authorization: Bearer {token}"));
        let mut arguments = vec![URL];
        if let Some(header) = &header {
            arguments.extend(["-H", header]);
        }
        curl(Some(&self.netns), &arguments)
    }

    /// Waits until a token is accepted.
    fn accepted(&self, daemon: &Daemon, token: &str) -> Result<()> {
        daemon.until("the token to be accepted", || {
            (self.get(Some(token)).ok()?.status == 200).then_some(())
        })
    }

    fn refused(&self, token: &str, text: &str) -> Result<()> {
        let answer = self.get(Some(token))?;
        assert_eq!((answer.status, answer.body.as_str()), (401, text));
        Ok(())
    }

    fn admin(&self, path: &str) -> Result<Answer> {
        curl(Some(&self.netns), &[&format!("http://127.0.0.1:9901{path}")])
    }

    /// Waits until `/readyz` says something; it says it with 200.
    fn ready_says(&self, daemon: &Daemon, text: &str) -> Result<()> {
        daemon.until(text, || {
            let answer = self.admin("/readyz").ok()?;
            assert_eq!(answer.status, 200, "{}", answer.body);
            answer.body.contains(text).then_some(())
        })
    }

    /// The value of a metric whose line starts with `start`.
    fn metric(&self, start: &str) -> Result<Option<u64>> {
        let page = self.admin("/metrics")?.body;
        let line = page.lines().find(|line| line.starts_with(start));
        Ok(line.and_then(|line| line.rsplit(' ').next()?.parse().ok()))
    }
}

fn claims(issuer: &str) -> String {
    format!(r#"{{"iss":"{issuer}","sub":"alice"}}"#)
}

#[test]
fn keys_are_fetched_from_a_private_authority() -> Result<()> {
    let ground = Ground::new()?;
    let issuer = ground.issuer()?;
    ground.rules(&[("a", &issuer.url("/keys"))])?;
    let daemon = ground.daemon()?;
    ground.accepted(&daemon, &ground.key.token(&claims("a")))?;
    ground.refused(&SigningKey::new("other")?.token(&claims("a")), UNKNOWN)?;
    ground.refused(&SigningKey::new("k1")?.token(&claims("a")), UNAVAILABLE)?;
    assert!(ground.metric("gateway_jwks_age_seconds{issuer=\"a\"")?.is_some());
    assert_eq!(ground.metric("gateway_jwks_keys{issuer=\"a\"")?, Some(1));
    Ok(())
}

#[test]
fn an_untrusted_certificate_gives_no_keys() -> Result<()> {
    let ground = Ground::new()?;
    let issuer = ground.issuer()?;
    std::fs::write(ground.manifests.path().join("ca.pem"), Authority::new()?.pem)?;
    ground.rules(&[("a", &issuer.url("/keys"))])?;
    let daemon = ground.daemon()?;
    ground.ready_says(&daemon, "last fetch: tls_failed")?;
    ground.refused(&ground.key.token(&claims("a")), UNAVAILABLE)
}

#[test]
fn keys_are_discovered() -> Result<()> {
    let ground = Ground::new()?;
    let issuer = ground.issuer()?;
    let metadata = |issuer: &str, uri: &str| {
        Behaviour::ok("", &format!(r#"{{"issuer":"{issuer}","jwks_uri":"{uri}"}}"#))
    };
    let (good, liar) = (issuer.url("/good"), issuer.url("/liar"));
    let keys = issuer.url("/keys");
    issuer.on("/good/.well-known/openid-configuration", metadata(&good, &keys));
    issuer.on("/liar/.well-known/openid-configuration", metadata(&good, &keys));
    ground.request_authentication(&format!("  - issuer: {good}\n  - issuer: {liar}\n"))?;
    let daemon = ground.daemon()?;
    ground.accepted(&daemon, &ground.key.token(&claims(&good)))?;
    ground.ready_says(&daemon, "last fetch: bad_content")?;
    ground.refused(&ground.key.token(&claims(&liar)), UNAVAILABLE)
}

#[test]
fn a_dead_issuer_is_waited_for_while_all_else_is_served() -> Result<()> {
    let ground = Ground::new()?;
    let port = ground.issuer()?.address.port();
    let alive = ground.issuer()?;
    let dead = format!("https://127.0.0.1:{port}/keys");
    ground.rules(&[("dead", &dead), ("alive", &alive.url("/keys"))])?;
    let daemon = ground.daemon()?;
    ground.ready_says(&daemon, "no keys of issuer \"dead\"")?;
    assert_eq!(ground.get(None)?.status, 200);
    ground.accepted(&daemon, &ground.key.token(&claims("alive")))?;
    ground.refused(&ground.key.token(&claims("dead")), UNAVAILABLE)?;
    let _risen = ground.issuer_at(port)?;
    ground.accepted(&daemon, &ground.key.token(&claims("dead")))?;
    let ready = ground.admin("/readyz")?;
    assert!(!ready.body.contains("keys of"), "{}", ready.body);
    Ok(())
}

#[test]
fn a_slow_issuer_delays_nobody_else() -> Result<()> {
    let ground = Ground::new()?;
    let issuer = ground.issuer()?;
    issuer.on("/slow", Behaviour::Hang);
    ground.rules(&[("slow", &issuer.url("/slow")), ("quick", &issuer.url("/keys"))])?;
    let daemon = ground.daemon()?;
    ground.accepted(&daemon, &ground.key.token(&claims("quick")))?;
    let first = ground.metric("gateway_jwks_fetches_total{issuer=\"slow\"")?;
    assert_eq!(first, Some(0), "the slow one hangs still");
    assert_eq!(ground.get(None)?.status, 200);
    ground.refused(&ground.key.token(&claims("slow")), UNAVAILABLE)?;
    ground.ready_says(&daemon, "last fetch: timeout")
}

#[test]
fn the_last_good_set_outlives_the_daemon() -> Result<()> {
    let ground = Ground::new()?;
    let issuer = ground.issuer()?;
    ground.rules(&[("a", &issuer.url("/keys"))])?;
    let token = ground.key.token(&claims("a"));
    let daemon = ground.daemon()?;
    ground.accepted(&daemon, &token)?;
    let kept = ground.state.path().join("keys");
    daemon.until("the kept set", || kept.read_dir().ok()?.next().map(|_| ()))?;
    drop((daemon, issuer));
    let daemon = ground.daemon()?;
    assert_eq!(ground.get(Some(&token))?.status, 200);
    ground.ready_says(&daemon, "seconds old; last fetch: connect_failed")?;
    assert_eq!(ground.get(Some(&token))?.status, 200);
    Ok(())
}

#[test]
fn private_addresses_need_permission() -> Result<()> {
    let ground = Ground::new()?;
    let issuer = ground.issuer()?;
    let port = issuer.address.port();
    let by_name = format!("https://localhost:{port}/keys");
    let metadata = "http://169.254.169.254/latest/meta-data";
    ground.rules(&[("a", &issuer.url("/keys")), ("b", &by_name), ("m", metadata)])?;
    let daemon = ground.daemon_with(&[])?;
    for issuer in ["a", "b", "m"] {
        let line = format!("no keys of issuer \"{issuer}\"");
        daemon.until(&line, || {
            let ready = ground.admin("/readyz").ok()?.body;
            let line = ready.lines().find(|other| other.starts_with(&line))?;
            line.ends_with("address_refused").then_some(())
        })?;
    }
    assert_eq!(issuer.hits("/keys"), 0);
    Ok(())
}

#[test]
fn refusals_are_told_as_a_policy_says() -> Result<()> {
    let ground = Ground::new()?;
    let issuer = ground.issuer()?;
    ground.rules(&[("a", &issuer.url("/keys"))])?;
    let text = policy("").replace(
        "  issuers:",
        "  missingToken: { status: 401 }\n  denied: { body: '{\"no\":1}', contentType: \
         application/json }\n  insufficientScope: { challenge: Scope }\n  issuers:",
    );
    let deny = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
                metadata: { name: bob, namespace: default }\nspec:\n  rules:\n  \
                - from: [ { source: { requestPrincipals: [ a/bob ] } } ]\n  \
                - to: [ { operation: { paths: [ /orders ] } } ]\n    \
                when: [ { key: 'request.auth.claims[scope]', values: [ 'orders:read' ] } ]\n";
    ground.manifests.write("policy.yaml", &format!("{text}---\n{deny}"))?;
    let daemon = ground.daemon_with(&[])?;
    let bob = ground.key.token(r#"{"iss":"a","sub":"bob"}"#);
    ground.accepted(&daemon, &bob)?;
    let missing = ground.get(None)?;
    assert_eq!((missing.status, missing.body.as_str()), (401, "Jwt is missing"));
    assert_eq!(
        missing.header("www-authenticate"),
        Some("Bearer realm=\"http://127.0.0.1:8080/x\"")
    );
    let denied = ground.get(Some(&ground.key.token(&claims("a"))))?;
    assert_eq!((denied.status, denied.body.as_str()), (403, "{\"no\":1}"));
    assert_eq!(denied.header("content-type"), Some("application/json"));
    assert_eq!(denied.header("www-authenticate"), None, "not for want of a scope");
    let bearer = format!("authorization: Bearer {}", ground.key.token(&claims("a")));
    for protocol in ["--http1.1", "--http2-prior-knowledge"] {
        let orders = [protocol, "-H", &bearer, "http://127.0.0.1:8080/orders"];
        let denied = curl(Some(&ground.netns), &orders)?;
        assert_eq!((denied.status, denied.body.as_str()), (403, "{\"no\":1}"));
        assert_eq!(
            denied.header("www-authenticate"),
            Some(
                "Bearer realm=\"http://127.0.0.1:8080/orders\", error=\"insufficient_scope\", \
                 scope=\"orders:read\""
            )
        );
    }
    let preflight = ["-X", "OPTIONS", "-H", "origin: http://o.test"];
    let preflight = [&preflight[..], &["-H", "access-control-request-method: GET", URL]].concat();
    assert_eq!(curl(Some(&ground.netns), &preflight)?.status, 403);
    Ok(())
}

/// A JWTPolicy for issuer `a` with these lines of `keys`, quick enough for a test.
fn policy(keys: &str) -> String {
    format!(
        "apiVersion: policy.gateway.internal/v1alpha1\nkind: JWTPolicy\n\
         metadata: {{ name: jwt, namespace: default }}\nspec:\n  targetRefs: \
         [ {{ group: gateway.networking.k8s.io, kind: Gateway, name: ingress }} ]\n  issuers:\n  \
         - issuer: a\n    keys:\n      allowPrivateAddresses: true\n{keys}"
    )
}

#[test]
fn a_rotated_key_is_found_and_a_flood_of_unknown_ones_is_not_passed_on() -> Result<()> {
    const WINDOW: u64 = 2;
    let ground = Ground::new()?;
    let issuer = ground.issuer()?;
    ground.rules(&[("a", &issuer.url("/keys"))])?;
    ground.manifests.write("policy.yaml", &policy("      unknownKeyWindow: 2s\n"))?;
    let daemon = ground.daemon_with(&[])?;
    ground.accepted(&daemon, &ground.key.token(&claims("a")))?;
    let rotated = SigningKey::new("k2")?;
    let token = rotated.token(&claims("a"));
    issuer.on("/keys", Behaviour::ok("", &jwks(&[&rotated])));
    ground.refused(&token, UNKNOWN)?;
    ground.accepted(&daemon, &token)?;
    ground.refused(&ground.key.token(&claims("a")), UNKNOWN)?;

    let before = issuer.hits("/keys");
    let seconds = || std::time::UNIX_EPOCH.elapsed().map(|since| since.as_secs());
    let begin = seconds()?;
    let head = |id: u32| {
        let token = rotated.token_named(&format!("random{id}"), &claims("a"));
        format!("GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n")
    };
    let address = ([127, 0, 0, 1], 8080).into();
    let mut client = ground.netns.inside(|| Client::connect(address))?;
    for id in 0..10_000 {
        assert_eq!(client.exchange(head(id).as_bytes(), false)?.status, 401, "{id}");
    }
    let windows = seconds()?.saturating_sub(begin) / WINDOW + 2;
    let fetches = (issuer.hits("/keys") - before) as u64;
    assert!(fetches <= windows, "{fetches} fetches in {windows} windows");
    ground.accepted(&daemon, &token)
}

#[test]
fn a_lying_issuer_leaves_the_last_good_set() -> Result<()> {
    let ground = Ground::new()?;
    let (issuer, elsewhere) = (ground.issuer()?, ground.issuer()?);
    ground.rules(&[("a", &issuer.url("/keys"))])?;
    ground
        .manifests
        .write("policy.yaml", &policy("      minRefresh: 1s\n      maxRefresh: 1s\n"))?;
    let daemon = ground.daemon_with(&[])?;
    let token = ground.key.token(&claims("a"));
    ground.accepted(&daemon, &token)?;
    let thief = SigningKey::new("thief")?;
    let stolen = Behaviour::ok("", &jwks(&[&thief]));
    elsewhere.on("/keys", stolen);
    let moved = format!("location: {}\r\n", elsewhere.url("/keys"));
    let private = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"p","x":"AA","d":"AA"}]}"#;
    let secret =
        r#"{"keys":[{"kty":"oct","kid":"s","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}]}"#;
    for (name, lie, result) in [
        ("page", Behaviour::ok("content-type: text/html\r\n", "<html>"), "bad_content"),
        ("empty set", Behaviour::ok("", r#"{"keys":[]}"#), "bad_content"),
        ("private key", Behaviour::ok("", private), "bad_content"),
        ("shared secret", Behaviour::ok("", secret), "bad_content"),
        ("compressed", Behaviour::ok("content-encoding: gzip\r\n", "x"), "bad_content"),
        ("error", Behaviour::status("500 Oops", "", &jwks(&[&thief])), "bad_status"),
        ("other host", Behaviour::status("302 Found", &moved, ""), "redirect_refused"),
        ("loop", Behaviour::status("302 Found", "location: /keys\r\n", ""), "redirect_refused"),
        ("huge", Behaviour::ok("", &" ".repeat(2 << 20)), "too_large"),
        ("no HTTP", Behaviour::Answer(b"keys, please\r\n".to_vec()), "protocol_error"),
        ("silence", Behaviour::Hang, "timeout"),
    ] {
        issuer.on("/keys", lie);
        let line = format!("last fetch: {result}");
        daemon.until(&format!("{name}: {line}"), || {
            ground.admin("/readyz").ok()?.body.contains(&line).then_some(())
        })?;
        assert_eq!(ground.get(Some(&token))?.status, 200, "{name}");
        ground.refused(&thief.token(&claims("a")), UNKNOWN)?;
    }
    assert_eq!(elsewhere.hits("/keys"), 0);
    // One foreign key among good ones is left out, and counted.
    let odd = format!(r#"{{"keys":[{{"kty":"XYZ"}},{}]}}"#, thief.jwk());
    issuer.on("/keys", Behaviour::ok("", &odd));
    ground.accepted(&daemon, &thief.token(&claims("a")))?;
    assert_eq!(ground.metric("gateway_jwks_keys_skipped{issuer=\"a\"")?, Some(1));
    Ok(())
}

/// A token says which key it is signed with, and nothing about where keys are.
#[test]
fn a_url_in_a_token_is_never_asked() -> Result<()> {
    let ground = Ground::new()?;
    let (issuer, thief) = (ground.issuer()?, SigningKey::new("k1")?);
    issuer.on("/stolen", Behaviour::ok("", &jwks(&[&thief])));
    ground.rules(&[("a", &issuer.url("/keys"))])?;
    let daemon = ground.daemon()?;
    ground.accepted(&daemon, &ground.key.token(&claims("a")))?;
    let url = issuer.url("/stolen");
    for (member, text) in [
        (format!(r#""jku":"{url}""#), UNAVAILABLE),
        (format!(r#""x5u":"{url}""#), UNAVAILABLE),
        (format!(r#""jku":"{url}","kid":"k2""#), UNKNOWN),
        (format!(r#""kid":"{url}""#), UNKNOWN),
        (format!(r#""jwk":{}"#, thief.jwk()), UNAVAILABLE),
    ] {
        let token = thief.token_with(&format!(r#"{{"alg":"EdDSA",{member}}}"#), &claims("a"));
        ground.refused(&token, text)?;
    }
    // Nor is an issuer that nobody configured.
    let stranger = thief.token(&claims(&issuer.url("")));
    ground.refused(&stranger, "Jwt issuer is not configured")?;
    assert_eq!(issuer.hits("/stolen"), 0);
    assert_eq!(issuer.hits("/.well-known/openid-configuration"), 0);
    Ok(())
}

#[test]
fn an_authority_and_a_client_certificate_of_their_own() -> Result<()> {
    let ground = Ground::new()?;
    let other = Authority::new()?;
    let issuer = IssuerServer::start(&ground.netns, &other, 0, Some(&other))?;
    issuer.on("/keys", Behaviour::ok("", &jwks(&[&ground.key])));
    ground.rules(&[("a", &issuer.url("/keys"))])?;
    let indent = |pem: &str| pem.trim_end().replace('\n', "\n        ");
    let ca = format!("      caCertificates: |\n        {}\n", indent(&other.pem));
    ground.manifests.write("policy.yaml", &policy(&ca))?;
    let daemon = ground.daemon_with(&[])?;
    // TLS 1.3 tells the client of its missing certificate after the handshake.
    ground.ready_says(&daemon, "no keys of issuer \"a\"")?;
    let identity = other.issue(&["gateway"])?;
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{ name: client, namespace: default }}\n\
         type: kubernetes.io/tls\nstringData:\n  tls.crt: |\n        {}\n  tls.key: |\n        {}\n",
        indent(&identity.certificate),
        indent(&identity.key)
    );
    let with = format!("      clientCertificateRef: {{ name: client }}\n{ca}");
    ground.manifests.write("policy.yaml", &format!("{}---\n{secret}", policy(&with)))?;
    ground.accepted(&daemon, &ground.key.token(&claims("a")))
}

#[test]
fn keys_come_through_a_proxy() -> Result<()> {
    let ground = Ground::new()?;
    let issuer = ground.issuer()?;
    let proxy = Proxy::start(&ground.netns, issuer.address)?;
    // A name that only the proxy knows.
    ground.rules(&[("a", &format!("https://localhost:{}/keys", issuer.address.port()))])?;
    let line = format!("      proxy: http://{}\n", proxy.address);
    ground.manifests.write("policy.yaml", &policy(&line))?;
    let daemon = ground.daemon_with(&[])?;
    ground.accepted(&daemon, &ground.key.token(&claims("a")))?;
    let asked = format!("CONNECT localhost:{} HTTP/1.1", issuer.address.port());
    assert_eq!(proxy.requests(), [asked]);
    Ok(())
}

#[test]
fn keys_of_a_file_follow_the_file() -> Result<()> {
    let ground = Ground::new()?;
    let file = ground.state.path().join("keys.json");
    std::fs::write(&file, jwks(&[&ground.key]))?;
    ground.request_authentication("  - issuer: a\n")?;
    ground.manifests.write("policy.yaml", &policy(&format!("      file: {}\n", file.display())))?;
    let daemon = ground.daemon_with(&[])?;
    ground.accepted(&daemon, &ground.key.token(&claims("a")))?;
    let next = SigningKey::new("k1")?;
    std::fs::write(&file, jwks(&[&next]))?;
    ground.accepted(&daemon, &next.token(&claims("a")))?;
    std::fs::remove_file(&file)?;
    ground.ready_says(&daemon, "last fetch: file_unreadable")?;
    assert_eq!(ground.get(Some(&next.token(&claims("a"))))?.status, 200);
    Ok(())
}

#[test]
fn what_a_policy_asks_of_tokens_holds() -> Result<()> {
    let ground = Ground::new()?;
    let issuer = ground.issuer()?;
    ground.rules(&[("a", &issuer.url("/keys"))])?;
    let text = policy("")
        .replace("    keys:", "    clockSkew: 1h\n    requiredClaims: [ sub, tenant ]\n    keys:");
    let text = text.replace("  issuers:", "  ignoreTokenPaths: [ /open/* ]\n  issuers:");
    ground.manifests.write("policy.yaml", &text)?;
    let daemon = ground.daemon_with(&[])?;
    let now = std::time::UNIX_EPOCH.elapsed()?.as_secs();
    let token = |age: u64| {
        let claims = r#"{"iss":"a","sub":"alice","tenant":null,"exp":EXP}"#;
        ground.key.token(&claims.replace("EXP", &(now - age).to_string()))
    };
    ground.accepted(&daemon, &token(1800))?;
    ground.refused(&token(3700), "Jwt is expired")?;
    ground.refused(&ground.key.token(&claims("a")), UNAVAILABLE)?;
    let header = "authorization: Bearer no token";
    let open = curl(Some(&ground.netns), &["-H", header, "http://127.0.0.1:8080/open/x"])?;
    assert_eq!(open.status, 200);
    daemon.until("the reason in the access log", || {
        let log = daemon.access_log();
        log.iter().any(|line| line["reason"] == "token_claim_missing").then_some(())
    })
}
