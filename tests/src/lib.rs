//! What the cross-component tests share: the services that their processes serve.

pub mod chain;
pub mod example;
pub mod gauges;
pub mod greeter;
pub mod probe;
pub mod server;
#[cfg(feature = "grpc")]
pub mod shop;

/// The topic of the processes that listen: each event is a number of eight bytes.
pub const NUMBERS: &str = "numbers";
