use micro::prelude::*;

struct Greeter;

struct GreeterClient;

#[service]
impl Greeter { //~
    #[handler]
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
