//! End to end: namespaces, attached programs, the daemon, curl and bpftool.
//!
//! Every test has namespaces, manifests, an origin, a daemon and a pin directory of its own.

mod addresses;
mod admin;
mod audit;
mod bad_input;
mod bans;
mod claims;
mod clients;
mod counters;
mod doctor;
mod drain;
mod forwarding;
mod framing;
mod h2_abuse;
mod interfaces;
mod jwks;
mod kill;
mod limits;
mod memory;
mod ports;
mod privileges;
mod reload;
mod requests;
mod setting;
mod tags;
mod targets;
mod tls;
mod tools;
mod upgrade;
mod upstreams;
