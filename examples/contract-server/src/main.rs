//! Implements the contract of `contract-api`: a plain `impl`, served by `OrdersServer`.
//!
//! `cargo run -p contract-server`, then `cargo run -p contract-client` beside it.

use std::sync::Mutex;
use std::sync::PoisonError;

use contract_api::{NewOrder, Order, Orders, OrdersServer};
use micro::prelude::*;

#[derive(Debug, Default)]
struct Shelf {
    orders: Mutex<Vec<Order>>,
}

impl Orders for Shelf {
    async fn create(&self, order: NewOrder) -> Result<Order> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let id = orders.last().map_or(1, |last| last.id + 1);
        let order = Order { id, sku: order.sku, quantity: order.quantity };
        orders.push(order.clone());
        Ok(order)
    }

    async fn read(&self, id: u64) -> Result<Order> {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let found = orders.iter().find(|order| order.id == id).cloned();
        found.ok_or_else(|| Error::not_found("orders", format!("no order {id}")))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    micro::run(OrdersServer(Shelf::default())).await
}
