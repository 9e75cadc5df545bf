//! Tools for people: commands that explain, check and write what the gateway works by. Each needs no
//! privilege and changes nothing.
//!
//! They decide nothing themselves: what a token is worth and what a policy says is asked of the
//! modules that the data path asks. Must not know: BPF, counters, admin.

pub mod explain;
pub mod generate;
pub mod inspect;

mod input;
mod shown;
pub mod verify;

pub use self::input::InputError;
