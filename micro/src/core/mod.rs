//! Rank 0: the types that every component speaks. No backends, no vendor crates.

pub mod backoff;
pub mod budget;
pub mod clock;
pub mod error;
pub mod future;
pub mod limits;
pub mod metadata;
pub mod secret;
pub mod shutdown;
pub mod status;
