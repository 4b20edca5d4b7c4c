//! Distributed services from plain Rust structs.

pub mod broker;
#[cfg(feature = "client")]
pub mod client;
pub mod codec;
pub mod config;
pub mod core;
pub mod prelude;
pub mod registry;
pub mod selector;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "client")]
pub mod service;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod transport;

#[doc(hidden)]
pub mod __private;

pub use crate::broker::{Event, Topic};
pub use crate::codec::Raw;
pub use crate::config::Config;
pub use crate::core::context::Context;
pub use crate::core::error::{Error, Result};
pub use crate::core::stream::Streaming;

#[cfg(feature = "client")]
pub use crate::client::{Call, Client, Publisher as Broker};
#[cfg(feature = "server")]
pub use crate::server::{Serve, Subscriber};
#[cfg(feature = "server")]
pub use crate::service::{FromService, Running, Service, Wiring, catalog, run, run_wired};

#[cfg(feature = "macros")]
pub use micro_macros::{handler, service, subscriber};
