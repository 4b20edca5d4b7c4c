use micro::prelude::*;

struct Greeter;

#[service(name = "a", name = "b")] //~
impl Greeter {
    #[handler]
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
