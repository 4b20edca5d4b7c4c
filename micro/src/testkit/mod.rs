//! Conformance suites for those who write backends.
//!
//! Each suite is a list of named claims about one component's trait. Every backend of this crate
//! passes its suite, and backends broken on purpose fail it.

pub mod registry;
