use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

#[service]
impl Greeter { //~
    #[handler]
    async fn bye(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
