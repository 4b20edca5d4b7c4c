//! Distributed services from plain Rust structs.
//!
//! Mark the `impl` of a struct `#[service]` and its methods `#[handler]`: the struct can be served,
//! and a typed client of it exists.
//!
//! ```
//! use micro::prelude::*;
//!
//! struct Greeter;
//!
//! /// Greets people.
//! #[service]
//! impl Greeter {
//!     /// Says hello.
//!     #[handler]
//!     async fn hello(&self, name: String) -> Result<String> {
//!         Ok(format!("Hello {name}"))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! let service = Service::new("example").registry(micro::registry::Memory::new());
//! # let service = service.no_env();
//! let running = service.mount(Greeter).start().await?;
//!
//! let greeter: GreeterClient = running.client();
//! assert_eq!(greeter.hello("Ada".to_owned()).await?, "Hello Ada");
//!
//! running.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! A program that only serves is one line, [`run`]; one that only calls begins with
//! [`Client::connect`]. What a process is made of is chosen in code through [`Service`] or by
//! settings, see [`service::open`]. The pages `architecture`, `security` and `changelog` ship with
//! the crate.
//!
//! # Reading order
//!
//! [`core`] has the types that everything speaks; then one module for each component.
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

pub mod core;

pub mod driver;

pub mod codec;
pub mod config;
pub mod debug;

pub mod store;
pub mod transport;

pub mod registry;

pub mod auth;
pub mod broker;
pub mod selector;

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod server;

#[cfg(feature = "client")]
pub mod service;

#[cfg(any(test, feature = "testkit"))]
pub mod testkit;

pub mod prelude;

#[doc(hidden)]
pub mod __private;

#[cfg(doc)]
#[doc = include_str!("../ARCHITECTURE.md")]
pub mod architecture {}

#[cfg(doc)]
#[doc = include_str!("../SECURITY.md")]
pub mod security {}

#[cfg(doc)]
#[doc = include_str!("../WIRE.md")]
pub mod wire {}

#[cfg(doc)]
#[doc = include_str!("../CHANGELOG.md")]
pub mod changelog {}

#[cfg(all(doctest, feature = "macros", feature = "server"))]
#[doc = include_str!("../../README.md")]
mod readme {}

pub use crate::auth::Handle as Auth;
pub use crate::broker::{Event, Topic};
pub use crate::codec::Raw;
pub use crate::config::Config;
pub use crate::core::context::Context;
pub use crate::core::error::{Error, Result};
pub use crate::core::or_error::OrError;
pub use crate::core::stream::Streaming;
pub use crate::store::Handle as Store;

#[cfg(feature = "client")]
pub use crate::client::{Call, Client, Publisher as Broker};
#[cfg(feature = "server")]
pub use crate::server::{Cancellation, Serve, Subscriber};
#[cfg(feature = "server")]
pub use crate::service::{FromService, Report, Running, Service, Wiring, catalog, run, run_wired};

#[cfg(feature = "macros")]
pub use micro_macros::{handler, service, subscriber};
