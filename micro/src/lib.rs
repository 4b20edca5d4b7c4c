//! Distributed services from plain Rust structs.
