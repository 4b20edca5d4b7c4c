//! A contract is implemented plainly: by a server, a shared value, a mock and the client.

#![deny(warnings)]

use micro::prelude::*;
use std::sync::Arc;

/// Keeps orders.
#[service(name = "orders", scope = "orders:read")]
pub trait Orders: Send + Sync + 'static {
    /// Creates one.
    #[handler(scope = "orders:write")]
    async fn create(&self, sku: String) -> Result<u64>;

    #[handler(idempotent)]
    async fn get(&self, id: u64) -> Result<String>;

    #[handler]
    async fn watch(&self) -> Result<Streaming<u64>>;

    #[handler]
    async fn import(&self, skus: Streaming<String>) -> Result<u64>;

    #[handler]
    async fn echo(&self, skus: Streaming<String>) -> Result<Streaming<String>>;
}

struct Pg;

impl Orders for Pg {
    async fn create(&self, sku: String) -> Result<u64> {
        drop(sku);
        Ok(1)
    }

    async fn get(&self, id: u64) -> Result<String> {
        Err(Error::not_found("orders", id))
    }

    async fn watch(&self) -> Result<Streaming<u64>> {
        Ok(Streaming::from_iter([1]))
    }

    async fn import(&self, skus: Streaming<String>) -> Result<u64> {
        drop(skus);
        Ok(1)
    }

    async fn echo(&self, skus: Streaming<String>) -> Result<Streaming<String>> {
        Ok(skus)
    }
}

async fn shop(orders: &impl Orders) -> Result<u64> {
    orders.create("a-1".to_owned()).await
}

fn served<S: micro::Serve>(_: S) -> usize {
    S::ENDPOINTS.len()
}

fn main() {
    let _ = |client: &OrdersClient| {
        let _ = shop(client);
        let _: Call<u64> = client.create(String::new());
    };
    let _ = shop(&Pg);
    assert_eq!(served(OrdersServer(Pg)), 5);
    assert_eq!(served(OrdersServer::shared(Arc::new(Pg))), 5);
    let descriptor = <OrdersServer<Pg> as micro::Serve>::DESCRIPTOR;
    assert_eq!(descriptor.endpoints[0].scopes, Some(&["orders:write"][..]));
    assert_eq!(descriptor.endpoints[1].scopes, Some(&["orders:read"][..]));
    assert_eq!(descriptor.endpoints[1].name, "Orders.Get");
}
