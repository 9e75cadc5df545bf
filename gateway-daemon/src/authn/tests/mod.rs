//! Tests of `authn`, tables with named rows.

mod cache;
mod hostile;
mod mint;
mod places;
mod strikes;
mod wycheproof;
