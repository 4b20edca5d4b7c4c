//! Composes the components into a running process; the only place that knows defaults.

mod backends;
mod connect;
mod env;
#[cfg(feature = "server")]
mod flags;
mod layers;
pub mod open;
#[cfg(feature = "server")]
mod record;
mod schema;
mod settings;
#[cfg(feature = "server")]
mod signal;
mod url;
#[cfg(feature = "server")]
mod wiring;

pub use self::schema::schema;
#[cfg(feature = "server")]
pub use self::wiring::{
    Field, FromService, WireOwned, WireShared, Wiring, wire_client, wire_config, wire_field,
};
