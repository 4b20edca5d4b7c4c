//! Orders: what is placed is taken off the shelf, kept, and told to whoever listens.

use micro::prelude::*;

use crate::stock::{StockClient, Taken};

/// What is bought.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) item: String,
    pub(crate) count: u32,
}

/// An order that was placed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Placed {
    pub(crate) id: u64,
    pub(crate) order: Order,
}

/// Tells of every order.
pub(crate) const PLACED: Topic<Placed> = Topic::new("shop.placed");

/// Takes orders.
#[service]
pub(crate) struct Orders {
    store: Store,
    broker: Broker,
    stock: StockClient,
}

#[service]
impl Orders {
    /// Places an order and returns its number.
    #[handler]
    pub(crate) async fn place(&self, order: Order) -> Result<u64> {
        self.stock.take(Taken { item: order.item.clone(), count: order.count }).await?;
        let id =
            self.store.update("last", |last: Option<u64>| last.unwrap_or_default() + 1).await?;
        self.store.put(&format!("order-{id}"), &order).await?;
        self.broker.publish(&PLACED, &Placed { id, order }).await?;
        tracing::info!(id, "placed");
        Ok(id)
    }
}
