//! `Pod` for the types that the user half writes with a map update. The only unsafe code of this
//! crate. Counters and names are read and written through a memory mapping and need none.
#![expect(unsafe_code, reason = "aya's marker trait for plain data is unsafe to implement")]

use crate::steering::{GatewayPort, GatewayPortEntry};

// SAFETY: `repr(C)`, integers only, no padding (layout.rs), every bit pattern valid.
unsafe impl aya::Pod for GatewayPort {}
// SAFETY: as above.
unsafe impl aya::Pod for GatewayPortEntry {}
