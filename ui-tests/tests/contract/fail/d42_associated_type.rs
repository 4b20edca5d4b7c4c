use micro::prelude::*;

#[service]
trait Orders: Send + Sync + 'static {
    type Item; //~

    #[handler]
    async fn count(&self) -> Result<u64>;
}

fn main() {}
