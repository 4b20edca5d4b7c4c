use micro::prelude::*;

#[service]
trait Orders: Send + Sync + 'static {
    #[handler]
    async fn count(self: std::sync::Arc<Self>) -> Result<u64>; //~
}

fn main() {}
