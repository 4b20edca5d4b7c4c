use micro::prelude::*;

struct Greeter;

#[service(name = "")] //~
impl Greeter {
    #[handler]
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
