use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler(scope = "greet", public)] //~
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
