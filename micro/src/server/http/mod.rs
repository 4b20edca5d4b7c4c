//! HTTP/1.1 and HTTP/2 on the one port; what is served how stands in the docs of the server.

mod accept;
pub(super) mod baggage;
pub(super) mod body;
mod browser;
pub(super) mod call;
mod coding;
mod connection;
mod cors;
pub(super) mod face;
pub(super) mod head;
mod inbox;
mod layer;
mod lines;
mod metrics;
#[cfg(feature = "mucp")]
mod mucp;
mod openapi;
mod paced;
mod pump;
mod query;
pub(super) mod reply;
mod rpc;
mod sound;
#[cfg(feature = "ws")]
mod websocket;

pub use self::cors::Cors;
pub use self::layer::HttpNext;

pub(super) use self::browser::Browser;
pub(super) use self::connection::{Watch, drive};
pub(super) use self::face::{Face, Peer, Ready, Site, marked};
pub(super) use self::layer::Wrap;
pub(super) use self::openapi::Documents;
pub(super) use self::paced::Paced;
