use micro::prelude::*;

#[service]
trait Orders: Send + Sync + 'static {
    #[handler]
    async fn count(&self) -> Result<u64>;
}

struct Pg;

#[service]
impl Orders for Pg { //~
    async fn count(&self) -> Result<u64> {
        Ok(1)
    }
}

fn main() {}
