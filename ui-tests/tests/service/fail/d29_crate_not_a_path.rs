use micro::prelude::*;

struct Greeter;

#[service(crate = "micro")] //~
impl Greeter {
    #[handler]
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
