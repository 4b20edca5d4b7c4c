//! Where messages go on a server.

/// What becomes of a message whose topic nobody has subscribed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unrouted {
    /// It is dropped, as every broker does that keeps messages for subscribers alone.
    #[default]
    Drop,
    /// Publishing it is a 503, safe to repeat. Sixteen messages are published at a time.
    Refuse,
}

/// Where messages go on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RabbitMqConfig {
    /// The virtual host: `/`.
    pub virtual_host: String,
    /// The exchange: `micro`. That of dead letters has `.dead` behind. Both are made when they are
    /// missing: durable topic exchanges.
    pub exchange: String,
    /// What becomes of a message whose topic nobody has subscribed to.
    pub unrouted: Unrouted,
}

impl Default for RabbitMqConfig {
    fn default() -> Self {
        let (virtual_host, exchange) = ("/".to_owned(), "micro".to_owned());
        Self { virtual_host, exchange, unrouted: Unrouted::default() }
    }
}

impl RabbitMqConfig {
    /// Chooses the virtual host.
    #[must_use]
    pub fn with_virtual_host(mut self, name: impl Into<String>) -> Self {
        self.virtual_host = name.into();
        self
    }

    /// Chooses the exchange.
    #[must_use]
    pub fn with_exchange(mut self, name: impl Into<String>) -> Self {
        self.exchange = name.into();
        self
    }

    /// Chooses what becomes of a message whose topic nobody has subscribed to.
    #[must_use]
    pub fn with_unrouted(mut self, unrouted: Unrouted) -> Self {
        self.unrouted = unrouted;
        self
    }
}
