use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(self: Box<Self>) -> Result<()> { //~
        Ok(())
    }
}

fn main() {}
