use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[cfg_attr(all(), handler(idempotent))] //~
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
