use micro::prelude::*;

#[service]
trait Orders<T>: Send + Sync + 'static { //~
    #[handler]
    async fn count(&self) -> Result<u64>;
}

fn main() {}
