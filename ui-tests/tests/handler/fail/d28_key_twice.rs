use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler(timeout = "1s", timeout = "2s")] //~
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
