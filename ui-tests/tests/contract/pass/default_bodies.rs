//! Methods with a body need no implementation; those that are no handlers are helpers.

#![deny(warnings)]

use micro::prelude::*;

#[service]
trait Orders: Send + Sync + 'static {
    #[handler]
    async fn get(&self, id: u64) -> Result<u64>;

    #[handler]
    async fn first(&self) -> Result<u64> {
        self.checked().await;
        self.get(self.base()).await
    }

    async fn checked(&self) -> bool {
        true
    }

    fn base(&self) -> u64 {
        Self::BASE
    }

    const BASE: u64 = 1;
}

struct Pg;

impl Orders for Pg {
    async fn get(&self, id: u64) -> Result<u64> {
        Ok(id)
    }
}

fn main() {
    let _ = |client: &OrdersClient| {
        let _: Call<u64> = client.first();
        client.base()
    };
    assert_eq!(<OrdersServer<Pg> as micro::Serve>::ENDPOINTS.len(), 2);
    let _ = OrdersServer(Pg).0;
}
