//! Receipts, written for every order that was placed.

use micro::prelude::*;

use crate::orders::{PLACED, Placed};

/// Writes receipts.
#[service]
pub(crate) struct Post {
    store: Store,
}

#[service]
impl Post {
    /// Writes a receipt; an event that comes twice writes the same one again.
    #[subscriber(topic = PLACED, queue = "post")]
    async fn on_placed(&self, placed: Event<Placed>) -> Result<()> {
        let (id, order) = (placed.id, &placed.order);
        let receipt = format!("receipt {id}: {} {}", order.count, order.item);
        self.store.put(&format!("receipt-{id}"), &receipt).await?;
        Ok(())
    }

    /// Returns the receipt of an order, once it is written.
    #[handler(idempotent)]
    pub(crate) async fn receipt(&self, id: u64) -> Result<Option<String>> {
        self.store.get(&format!("receipt-{id}")).await
    }
}
