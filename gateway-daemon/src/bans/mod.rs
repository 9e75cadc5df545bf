//! Bans: who keeps presenting forged or malformed tokens is banned for a while.
//!
//! - [`Watch`]: a worker's end. It tells of bad tokens, and of good ones while anybody has strikes;
//!   it never waits and makes no system call.
//! - [`Strikes`]: strikes per source in a window. Pure.
//! - [`Breaker`]: whether bans meet too large a share of the packets. Pure.
//! - [`Keeper`]: decides and writes bans, on a thread of its own.
//! - [`Clients`]: who is banned behind proxies, where workers refuse requests.
//!
//! Whether a ban drops anything is the kernel half's business, behind [`Store`]. Must not know: aya,
//! HTTP, tokens. `docs/bans.md` is the whole story.

mod breaker;
mod client_keeper;
mod clients;
mod keeper;
mod status;
mod store;
mod strikes;
mod suspects;
mod turn;
mod watch;

pub use breaker::{Breaker, Traffic};
pub use clients::Clients;
pub use keeper::{Keeper, Node, Told, exempt};
pub use status::{Counter, Status};
pub use store::{MemoryStore, Store, StoreError};
pub use strikes::{Strikes, Struck};
pub use suspects::Suspects;
pub use turn::Turn;
pub use watch::{News, Watch, watch};

#[cfg(test)]
mod tests;
