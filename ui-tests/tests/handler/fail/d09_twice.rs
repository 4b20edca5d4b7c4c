use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    #[handler(idempotent)] //~
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
