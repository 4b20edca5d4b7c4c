use micro::prelude::*;

#[service]
trait Orders: Send + Sync + 'static {
    #[handler]
    async fn count(&self, ctx: &Context) -> Result<u64>; //~
}

fn main() {}
