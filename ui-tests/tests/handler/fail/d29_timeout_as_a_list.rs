use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler(timeout("1s"))] //~
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
