use micro::prelude::*;

struct Greeter;

#[service(name = 7)] //~
impl Greeter {
    #[handler]
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
