//! The harness: daemon process, network namespaces, origin, raw clients, manifests, the recorded
//! corpus. What a test needs and does not find fails it with the name of what is missing.

pub mod corpus;
pub mod curl;
pub mod daemon;
pub mod environment;
pub mod haproxy;
pub mod issuer;
pub mod load;
pub mod manifests;
pub mod netns;
pub mod object;
pub mod origin;
pub mod patience;
pub mod raw;
pub mod shell;
