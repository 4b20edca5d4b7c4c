use micro::prelude::*;

#[service]
trait Orders: Send + Sync + 'static {
    #[handler]
    async fn count(&self) -> Result<u64>;

    async fn lost(&self) -> u8; //~
}

fn main() {}
