//! The names that most services import: `use micro::prelude::*;`.

pub use serde::{Deserialize, Serialize};

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
pub use crate::service::{Running, Service};

#[cfg(feature = "macros")]
pub use micro_macros::{handler, service, subscriber};
