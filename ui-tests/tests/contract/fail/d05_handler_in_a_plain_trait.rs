use micro::prelude::*;

#[allow(async_fn_in_trait, dead_code)]
trait Orders: Send + Sync + 'static {
    #[handler] //~
    async fn count(&self) -> Result<u64>;
}

fn main() {}
