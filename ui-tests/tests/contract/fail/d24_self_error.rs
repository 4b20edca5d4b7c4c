use micro::prelude::*;

#[service]
trait Orders: Send + Sync + 'static {
    #[handler]
    async fn twin(&self) -> Result<u64, Box<Self>>; //~
}

fn main() {}
