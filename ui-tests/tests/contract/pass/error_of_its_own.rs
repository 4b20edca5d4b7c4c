//! A contract's error carries transport failures, and the client returns it.

#![deny(warnings)]

use micro::prelude::*;

#[derive(Debug)]
pub enum Fault {
    SoldOut,
    Rpc(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Rpc(error)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::SoldOut => Error::conflict("orders", "sold out"),
            Fault::Rpc(error) => error,
        }
    }
}

#[service]
pub trait Orders: Send + Sync + 'static {
    #[handler]
    async fn create(&self, sku: String) -> Result<u64, Fault>;

    #[handler]
    async fn watch(&self) -> Result<Streaming<u64>, Fault>;
}

struct Pg;

impl Orders for Pg {
    async fn create(&self, sku: String) -> Result<u64, Fault> {
        drop(sku);
        Err(Fault::SoldOut)
    }

    async fn watch(&self) -> Result<Streaming<u64>, Fault> {
        Err(Fault::SoldOut)
    }
}

fn calls(client: &OrdersClient) -> (Call<u64, Fault>, Call<Streaming<u64>, Fault>) {
    (client.create(String::new()), client.watch())
}

fn main() {
    let _ = calls;
    assert_eq!(<OrdersServer<Pg> as micro::Serve>::ENDPOINTS.len(), 2);
}
