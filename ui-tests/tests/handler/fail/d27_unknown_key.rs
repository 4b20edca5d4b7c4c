use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler(retry)] //~
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
