//! Distributed services from plain Rust structs.

pub mod codec;
pub mod core;
pub mod registry;
pub mod transport;
