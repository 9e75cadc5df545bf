//! The user half of the gateway: terminates TLS, verifies tokens, decides by policy, proxies and
//! counts.
//!
//! Read [`proxy`] by file name to follow a request, [`control`] to follow a configuration, and
//! `ARCHITECTURE.md` for who may know whom.

pub mod admin;
pub mod app;
pub mod authn;
pub mod authz;
pub mod bans;
pub mod bpf;
pub mod cli;
pub mod clock;
pub mod control;
pub mod counters;
pub mod doctor;
pub mod handover;
pub mod lifecycle;
mod manifest;
pub mod model;
pub mod proxy;
pub mod request;
pub mod route;
pub mod settings;
pub mod snapshot;
pub mod sys;
pub mod telemetry;
pub mod tools;
