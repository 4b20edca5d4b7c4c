use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler(name = "a b")] //~
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
