//! A contract with an error of its own, and an implementation.

use micro::Error;
use micro::Streaming;
use micro::handler;
use micro::service;

/// Why an order was not made.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fault {
    /// There is nothing left.
    SoldOut,
    /// The call failed on its way.
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
            Fault::SoldOut => Self::conflict("orders", "sold out"),
            Fault::Rpc(error) => error,
        }
    }
}

/// Keeps orders.
#[service(scope = "orders:read")]
pub trait Orders: Send + Sync + 'static {
    /// Makes an order.
    #[handler(scope = "orders:write")]
    async fn create(&self, sku: String) -> Result<u64, Fault>;

    /// Tells of every order.
    #[handler]
    async fn watch(&self) -> Result<Streaming<u64>, Fault>;

    /// Makes many orders.
    #[handler]
    async fn import(&self, skus: Streaming<String>) -> Result<u64, Fault>;

    /// Counts what there is.
    #[handler(idempotent)]
    async fn count(&self) -> Result<u64, Fault> {
        Ok(u64::from(self.is_open()))
    }

    /// Whether orders are taken.
    fn is_open(&self) -> bool {
        true
    }
}

/// Has nothing.
#[derive(Debug)]
pub struct Empty;

impl Orders for Empty {
    async fn create(&self, sku: String) -> Result<u64, Fault> {
        drop(sku);
        Err(Fault::SoldOut)
    }

    async fn watch(&self) -> Result<Streaming<u64>, Fault> {
        Ok(Streaming::from_iter([]))
    }

    async fn import(&self, skus: Streaming<String>) -> Result<u64, Fault> {
        drop(skus);
        Ok(0)
    }
}
