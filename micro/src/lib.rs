//! Distributed services from plain Rust structs.

pub mod config;
pub mod core;
pub mod service;
