//! Structs taken from the running service.

use crate::contract::OrdersClient;
use crate::greeter::GreeterClient;
use micro::service;
use std::sync::atomic::AtomicU64;

/// Where mail goes.
#[derive(Debug, serde::Deserialize)]
pub struct Smtp {
    /// The host to connect to.
    pub host: String,
}

/// Knows everybody.
#[service]
#[derive(Debug)]
pub struct Hub {
    /// Orders, elsewhere.
    pub orders: OrdersClient,
    /// Greetings, elsewhere.
    pub greeter: GreeterClient,
    /// Mail, from the configuration.
    #[wire(config = "smtp")]
    pub smtp: Smtp,
    /// How much was sent.
    #[wire(default)]
    pub sent: AtomicU64,
}
