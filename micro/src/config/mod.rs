//! Settings from several places, merged into one document that knows where each value is from.
//!
//! Later sources win. A process reads, in this order: what its code sets ([`Memory`], [`Flat`]), the
//! sources it adds, the file of `MICRO_CONFIG` ([`File`]), its store, variables ([`Env`]), flags.
//! [`Config::settings`] lists every value with where it is set, secrets masked. What a program reads
//! is checked against its own type: an unknown key, a missing one or a value of the wrong type is
//! an error that names the key and the source. Values are taken literally; nothing in them is
//! expanded.
//!
//! ```
//! use micro::config::{Config, Env, Memory, Source};
//! use serde::Deserialize;
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! #[derive(Deserialize)]
//! struct Smtp {
//!     host: String,
//!     port: u16,
//!     timeout: Duration,
//! }
//!
//! # async fn example() -> micro::core::error::Result<()> {
//! let defaults = Memory::new("defaults", serde_json::json!({"smtp": {"port": 25, "timeout": "5s"}}));
//! let env = Env::of("MICRO_CONFIG_", [("MICRO_CONFIG_SMTP__HOST", "mail.internal")]);
//! let config = Config::load(&[Arc::new(defaults), Arc::new(env)]).await?;
//! let smtp: Smtp = config.get("smtp")?;
//! assert_eq!((smtp.host.as_str(), smtp.port), ("mail.internal", 25));
//! assert_eq!(smtp.timeout, Duration::from_secs(5));
//! assert_eq!(config.origin("smtp.host").as_deref(), Some("MICRO_CONFIG_SMTP__HOST"));
//!
//! // A change is taken whole, if it fits every type that is required, or not at all.
//! let mut ports = config.watch::<u16>("smtp.port")?;
//! assert_eq!(ports.next().await, Some(25));
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
//! ```

mod changes;
mod document;
mod duration;
mod env;
mod fault;
mod file;
mod flat;
mod format;
mod handle;
mod listing;
mod memory;
#[cfg(feature = "nats")]
mod nats;
mod reader;
mod reload;
mod snapshot;
mod tree;
mod values;

use std::fmt;

use crate::core::error::Result;
use crate::core::future::BoxFuture;

pub use self::changes::{Changes, Signal};
pub use self::document::Document;
pub use self::duration::parse_duration;
pub use self::env::Env;
pub use self::file::File;
pub use self::flat::Flat;
pub use self::handle::Config;
pub use self::listing::Setting;
pub use self::memory::Memory;
#[cfg(feature = "nats")]
pub use self::nats::Nats;
pub use self::reload::Reloads;
pub use self::values::Values;

/// Bytes of one configuration document (L27): 1 MiB. A longer one is refused.
pub const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;

/// A place that settings come from.
pub trait Source: fmt::Debug + Send + Sync + 'static {
    /// Returns the name for people, such as `environment` or the path of a file.
    fn name(&self) -> &str;

    /// Reads the whole document, an object.
    ///
    /// May be called again to see changes. Dropping the future gives up the read.
    ///
    /// # Errors
    /// When the source cannot be read or does not hold a document; the error names the source.
    fn load(&self) -> BoxFuture<'_, Result<Document>>;

    /// Watches the document: every change after this returns is signalled. `None` for a source
    /// that never changes.
    ///
    /// # Errors
    /// When the source cannot be watched for the time being; it is tried again.
    fn watch(&self) -> BoxFuture<'_, Result<Option<Changes>>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

#[cfg(test)]
mod tests;
