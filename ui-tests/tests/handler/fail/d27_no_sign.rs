use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler(name "Create")] //~
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
