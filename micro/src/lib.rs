//! Distributed services from plain Rust structs.

pub mod core;
pub mod registry;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
