use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&self, _: String) -> Result<()> { //~
        Ok(())
    }
}

fn main() {}
