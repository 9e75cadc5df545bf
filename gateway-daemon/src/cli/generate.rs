//! Arguments of `generate`: raw words.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// What `generate` writes.
#[derive(Debug, Subcommand)]
pub enum GenerateCommand {
    /// RequestAuthentication and AuthorizationPolicy for one issuer, ready for `--config` and for
    /// Istio. Without any argument it asks.
    Jwt(Box<JwtArgs>),
}

/// `--match`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum MatchWord {
    /// Requests that match a rule need a token; without rules, all do.
    AuthIfMatched,
    /// Requests that match a rule need none, all others do.
    BypassAuthIfMatched,
}

/// Arguments of `generate jwt`.
#[derive(Args, Debug, Default, Eq, PartialEq)]
pub struct JwtArgs {
    /// Name of both objects [default: jwt].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Their namespace, which is the Gateway's [default: default].
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// The Gateway they are for [default: every one of the namespace].
    #[arg(long, value_name = "NAME")]
    pub gateway: Option<String>,
    /// Issuer: `iss` of its tokens, byte for byte.
    #[arg(long, value_name = "ISSUER")]
    pub issuer: Option<String>,
    /// Accepted audience (repeatable) [default: not checked].
    #[arg(long, value_name = "AUDIENCE")]
    pub audience: Vec<String>,
    /// Keys, as the text of a JWK set.
    #[arg(long, value_name = "JSON", conflicts_with_all = ["jwks_file", "jwks_uri"])]
    pub jwks: Option<String>,
    /// Keys, from a file that is copied into the manifest.
    #[arg(long, value_name = "PATH", conflicts_with = "jwks_uri")]
    pub jwks_file: Option<PathBuf>,
    /// Keys, fetched by the gateway from there.
    #[arg(long, value_name = "URL")]
    pub jwks_uri: Option<String>,
    /// The token stands in this header, after the prefix (repeatable) [default: `Authorization`
    /// after `Bearer `, and parameter `access_token`].
    #[arg(long, value_name = "NAME[=PREFIX]")]
    pub from_header: Vec<String>,
    /// The token stands in this query parameter (repeatable).
    #[arg(long, value_name = "NAME")]
    pub from_param: Vec<String>,
    /// The upstream gets the token too.
    #[arg(long)]
    pub passthrough: bool,
    /// The upstream gets the payload in this header.
    #[arg(long, value_name = "HEADER")]
    pub payload_header: Option<String>,
    /// The upstream gets a claim in a header (repeatable).
    #[arg(long, value_name = "CLAIM=HEADER")]
    pub claim_header: Vec<String>,
    /// What it means that a rule matches [default: auth-if-matched].
    #[arg(long = "match", value_enum)]
    pub mode: Option<MatchWord>,
    /// A rule (repeatable): words `path=`, `method=` and `host=`, separated by blanks. Words of one
    /// kind are alternatives; a rule matches if every kind that it names does.
    #[arg(long, value_name = "WORDS")]
    pub rule: Vec<String>,
}
