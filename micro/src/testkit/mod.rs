//! Conformance suites: what every backend of a component must do, under names. Not bound by
//! semantic versioning.
//!
//! Every backend of this crate passes its suite, and backends broken on purpose fail it.

pub mod auth;
pub mod broker;
pub mod codec;
pub mod config;
pub mod debug;
pub mod registry;
pub mod rules;
pub mod selector;
pub mod store;
pub mod transport;
