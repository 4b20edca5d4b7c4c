use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler("Create")] //~
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
