use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler(timeout)] //~
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
