//! Conformance suites: what every backend of a component must do, as functions that panic where one
//! does not. Not bound by semantic versioning.

pub mod broker;
pub mod selector;
