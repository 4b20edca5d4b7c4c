//! Rank 0: the types that every component speaks. No backends, no vendor crates.

pub mod future;
