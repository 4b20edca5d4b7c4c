use micro::prelude::*;

struct Greeter;

#[service(public, scope = "greet")] //~
impl Greeter {
    #[handler]
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
