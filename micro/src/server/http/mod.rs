//! HTTP/1.1 and HTTP/2 on the one port; what is served how stands in the docs of the server.

mod accept;
pub(super) mod baggage;
pub(super) mod body;
mod browser;
mod call;
mod connection;
pub(super) mod face;
pub(super) mod head;
mod inbox;
mod layer;
mod lines;
mod metrics;
mod paced;
mod pump;
pub(super) mod reply;

pub use self::layer::HttpNext;

pub(super) use self::browser::Browser;
pub(super) use self::face::{Face, Peer, Ready, Site, marked};
pub(super) use self::layer::Wrap;
