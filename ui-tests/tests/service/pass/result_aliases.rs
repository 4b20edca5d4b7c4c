//! `Result` may be anybody's alias, and may hide its arguments.

#![deny(warnings)]

use micro::prelude::Error;
use micro::prelude::Streaming;
use micro::prelude::handler;
use micro::prelude::service;

#[derive(Debug)]
enum Fault {
    Rpc(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Rpc(error)
    }
}

impl From<Fault> for Error {
    fn from(Fault::Rpc(error): Fault) -> Self {
        error
    }
}

type Result<T> = std::result::Result<T, Fault>;
type CountResult = Result<u64>;
type SwappedResult<E, T> = std::result::Result<T, E>;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&self) -> Result<String> {
        Ok(String::new())
    }

    #[handler]
    async fn count(&self) -> CountResult {
        Ok(1)
    }

    #[handler]
    async fn swapped(&self) -> SwappedResult<Fault, u8> {
        Ok(1)
    }

    #[handler]
    async fn io(&self) -> std::result::Result<u8, Error> {
        Ok(1)
    }
}

#[service]
trait Orders: Send + Sync + 'static {
    #[handler]
    async fn get(&self) -> Result<u64>;

    #[handler]
    async fn count(&self) -> CountResult;

    #[handler]
    async fn watch(&self) -> Result<Streaming<u64>>;
}

fn calls(
    greeter: &GreeterClient,
    orders: &OrdersClient,
) -> (micro::Call<u64>, micro::Call<u8>, micro::Call<u64, Fault>) {
    (greeter.count(), greeter.swapped(), orders.count())
}

fn main() {
    let _ = (calls, Greeter);
}
