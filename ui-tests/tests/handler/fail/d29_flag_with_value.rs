use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler(idempotent = true)] //~
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
