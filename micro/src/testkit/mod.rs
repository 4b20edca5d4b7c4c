//! What tests are made of: conformance suites, which say under names what every backend of a
//! component must do; [`Faulty`], a backend that fails when it is told to; and [`Service`], a
//! process on backends in memory. Not bound by semantic versioning.
//!
//! Every backend of this crate passes its suite, and backends broken on purpose fail it.

pub mod auth;
pub mod broker;
pub mod codec;
pub mod config;
pub mod debug;
mod faulty;
pub mod registry;
pub mod rules;
pub mod selector;
#[cfg(feature = "server")]
mod service;
pub mod store;
pub mod transport;

pub use self::faulty::Faulty;
#[cfg(feature = "server")]
pub use self::service::{AsAccount, Environment, SETTLE_MAX, Service};
