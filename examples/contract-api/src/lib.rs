//! What orders are and how to call for them; shared by server and clients, and free of both.

use micro::prelude::*;

/// What a customer wants.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewOrder {
    /// The article.
    pub sku: String,
    /// How many of it.
    #[serde(default)]
    pub quantity: u32,
}

/// An order that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its number.
    pub id: u64,
    /// The article.
    pub sku: String,
    /// How many of it.
    pub quantity: u32,
}

/// Takes orders.
#[service(name = "orders")]
pub trait Orders: Send + Sync + 'static {
    /// Takes an order.
    ///
    /// @example {"sku": "a-1", "quantity": 2}
    #[handler(timeout = "2s")]
    async fn create(&self, order: NewOrder) -> Result<Order>;

    /// Finds an order.
    #[handler(idempotent)]
    async fn read(&self, id: u64) -> Result<Order>;
}
