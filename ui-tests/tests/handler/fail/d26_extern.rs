use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async extern "C" fn hello(&self) -> Result<()> { //~
        Ok(())
    }
}

fn main() {}
