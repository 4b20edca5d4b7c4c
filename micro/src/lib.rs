//! Distributed services from plain Rust structs.

pub mod core;
pub mod registry;
pub mod selector;
#[cfg(feature = "testkit")]
pub mod testkit;
