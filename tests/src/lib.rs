//! What the cross-component tests share: the services that their processes serve.

pub mod chain;
pub mod gauges;
pub mod greeter;
pub mod probe;
