//! What must hold for bytes that strangers write: one file per kind of bytes, each with a function
//! `holds` that panics where it does not.
//!
//! The fuzz targets call these with whatever they come up with, and the unit suite calls them with
//! the seeds, so that what was found once is looked at on every machine. They know the daemon by its
//! library alone.

pub mod clients;
pub mod generated;
pub mod jwks;
pub mod manifest;
pub mod request;
pub mod setting;
pub mod token;
