use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler(scope = (a, b))] //~
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
