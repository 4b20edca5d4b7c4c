//! Distributed services from plain Rust structs.

pub mod core;
