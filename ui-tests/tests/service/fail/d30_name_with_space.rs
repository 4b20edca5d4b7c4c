use micro::prelude::*;

struct Greeter;

#[service(name = "a b")] //~
impl Greeter {
    #[handler]
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
