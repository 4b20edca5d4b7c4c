//! Rank 0: the types that every component speaks. No backends, no vendor crates.

pub mod account;
#[cfg(feature = "client")]
pub(crate) mod attempt;
pub mod backoff;
pub mod body;
pub mod budget;
pub mod clock;
pub mod content_type;
pub mod context;
pub mod descriptor;
pub mod error;
pub mod exchange;
pub mod future;
pub mod limits;
pub mod metadata;
pub mod nearest;
pub mod net;
pub mod or_error;
pub(crate) mod panic;
pub mod proven;
pub mod secret;
pub mod shutdown;
pub mod stall;
pub mod status;
pub mod stream;
pub mod trace;
