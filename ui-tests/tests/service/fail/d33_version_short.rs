use micro::prelude::*;

struct Greeter;

#[service(version = "1.4")] //~
impl Greeter {
    #[handler]
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
