//! Calls the contract of `contract-api`, and tests its own logic against a fake.
//!
//! `cargo run -p contract-client` while `contract-server` runs.
#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use contract_api::{NewOrder, Orders, OrdersClient};
use micro::prelude::*;

/// Logic that knows the contract and not who keeps it.
async fn reorder(orders: &impl Orders, id: u64) -> Result<u64> {
    let before = orders.read(id).await?;
    let again = NewOrder { sku: before.sku, quantity: before.quantity };
    Ok(orders.create(again).await?.id)
}

#[tokio::main]
async fn main() -> Result<()> {
    let orders: OrdersClient = Client::connect().await?.into();
    let order = NewOrder { sku: "a-1".into(), quantity: 2 };
    let order = orders.create(order).metadata("tenant", "acme").await?;
    println!("ordered: {order:?}");
    println!("again: {}", reorder(&orders, order.id).await?);
    match orders.read(u64::MAX).await {
        Ok(order) => println!("found: {order:?}"),
        Err(error) => println!("{} {error}", error.code()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract_api::Order;

    struct Fake;

    impl Orders for Fake {
        async fn create(&self, order: NewOrder) -> Result<Order> {
            Ok(Order { id: 8, sku: order.sku, quantity: order.quantity })
        }

        async fn read(&self, id: u64) -> Result<Order> {
            Ok(Order { id, sku: "a-1".into(), quantity: 2 })
        }
    }

    #[tokio::test]
    async fn reordering_makes_another_order() {
        assert_eq!(reorder(&Fake, 7).await.unwrap(), 8);
    }
}
