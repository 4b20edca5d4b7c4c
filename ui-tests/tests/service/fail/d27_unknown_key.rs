use micro::prelude::*;

struct Greeter;

#[service(versoin = "1.0.0")] //~
impl Greeter {
    #[handler]
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
