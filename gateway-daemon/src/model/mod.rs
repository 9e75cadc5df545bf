//! Validated words: what a configuration means, once every manifest has been read and resolved.
//!
//! A value of these types is right by construction; where a manifest was broken, the type says
//! what is left (an unresolved backend, a rule that matches nothing or everything). Must not know:
//! serde, tokio, hyper bodies, files, Kubernetes field spelling.

pub mod attachment;
pub mod backend;
pub mod ban;
pub mod ext_authz;
pub mod identity;
pub mod jwt;
pub mod keys;
pub mod listener;
pub mod lookup;
pub mod object;
pub mod path;
pub mod policy;
pub mod port_range;
pub mod reason;
pub mod refusal;
pub mod route;
pub mod template;
pub mod topology;
pub mod trie;
