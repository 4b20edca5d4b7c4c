//! Serves what is mounted: one port for every protocol, one router behind it.
//!
//! [`Builder`] takes services and makes a [`Server`]; [`Server::listen`] binds a port. Whatever a
//! connection speaks, its calls meet the same rules in the same order: policy, limits, layers,
//! then the handler. Without layers and policy a call costs its context and one box.

mod builder;
mod gate;
mod handle;
mod http;
mod layer;
mod listen;
mod policy;
mod roster;
mod router;
mod serve;
mod sniff;
mod stream;
mod subscription;
mod suggest;
mod table;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use self::builder::Builder;
pub use self::handle::Server;
pub use self::http::HttpNext;
pub use self::layer::{Next, Request};
pub use self::policy::{Access, Policy};
pub use self::router::Router;
pub use self::subscription::{Subscribed, Subscriber, Subscription, Surroundings};
pub use self::serve::{ContractError, Endpoint, Incoming, IntoError, IsContext, Serve, Shared};

/// Glue that macro output names.
pub mod glue {
    pub use super::serve::{decode, inbound, is_context, respond, respond_stream};
    pub use super::subscription::{acked, envelope, event};
}
