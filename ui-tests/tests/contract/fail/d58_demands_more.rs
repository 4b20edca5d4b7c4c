use micro::prelude::*;

trait Health {}

#[service]
trait Orders: Health + Send + Sync + 'static { //~
    #[handler]
    async fn count(&self) -> Result<u64>;
}

fn main() {}
