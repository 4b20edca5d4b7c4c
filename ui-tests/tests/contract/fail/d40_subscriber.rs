use micro::prelude::*;

#[service]
trait Orders: Send + Sync + 'static {
    #[handler]
    async fn count(&self) -> Result<u64>;

    #[subscriber(topic = "made")] //~
    async fn on_made(&self, made: u8) -> Result<()>;
}

fn main() {}
