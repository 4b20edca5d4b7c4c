use micro::prelude::*;

struct Greeter;

#[service(client = "Caller")] //~
impl Greeter {
    #[handler]
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
