use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler(timeout = "5 parsecs")] //~
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
