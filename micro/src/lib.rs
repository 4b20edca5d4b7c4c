//! Distributed services from plain Rust structs.
//!
//! Annotate an `impl`, run it, and any other process finds it by its name and calls it through a
//! typed client.
//!
//! ```
//! # #[cfg(all(feature = "macros", feature = "server"))] mod example {
//! use micro::prelude::*;
//!
//! #[derive(Default)]
//! pub struct Greeter;
//!
//! #[service(name = "greeter")]
//! impl Greeter {
//!     /// Says hello.
//!     #[handler]
//!     pub async fn hello(&self, name: String) -> Result<String> {
//!         Ok(format!("Hello {name}"))
//!     }
//! }
//!
//! pub async fn main() -> Result<()> {
//!     let running = Service::new("hello").mount(Greeter).no_args().start().await?;
//!     let greeter: GreeterClient = running.client();
//!     assert_eq!(greeter.hello("Ada".to_owned()).await?, "Hello Ada");
//!     running.stop().await;
//!     Ok(())
//! }
//! # }
//! ```
//!
//! What happens where stands in [`architecture`], the bytes on the wire in [`transport::native`],
//! the limits in [`core::limits`].
#![cfg_attr(
    test,
    allow(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::redundant_clone,
        clippy::use_self,
        reason = "tests are read for their claims"
    )
)]

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

#[doc = include_str!("../ARCHITECTURE.md")]
pub mod architecture {}

#[doc = include_str!("../SECURITY.md")]
pub mod security {}

#[cfg(all(doctest, feature = "macros", feature = "server"))]
#[doc = include_str!("../../README.md")]
mod readme {}

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
