//! Distributed services from plain Rust structs.

pub mod broker;
#[cfg(feature = "client")]
pub mod client;
pub mod codec;
pub mod config;
pub mod core;
pub mod registry;
pub mod selector;
pub mod service;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod transport;
