//! A contract need not ask for `Send`: its server does.

#![deny(warnings)]

use micro::prelude::*;

#[service]
trait Orders {
    #[handler]
    async fn get(&self) -> Result<u64>;
}

struct Pg;

impl Orders for Pg {
    async fn get(&self) -> Result<u64> {
        Ok(1)
    }
}

fn main() {
    assert_eq!(<OrdersServer<Pg> as micro::Serve>::ENDPOINTS.len(), 1);
}
