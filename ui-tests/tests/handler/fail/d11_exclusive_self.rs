use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&mut self) -> Result<()> { //~
        Ok(())
    }
}

fn main() {}
