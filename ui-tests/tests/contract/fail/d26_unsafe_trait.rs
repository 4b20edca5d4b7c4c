use micro::prelude::*;

#[service]
unsafe trait Orders: Send + Sync + 'static { //~
    #[handler]
    async fn count(&self) -> Result<u64>;
}

fn main() {}
