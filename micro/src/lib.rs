//! Distributed services from plain Rust structs.

#[cfg(feature = "client")]
pub mod client;
pub mod codec;
pub mod core;
pub mod registry;
pub mod selector;
pub mod transport;
