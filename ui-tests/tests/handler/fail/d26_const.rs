use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    const async fn hello(&self) -> Result<()> { //~
        Ok(())
    }
}

fn main() {}
