use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async unsafe fn hello(&self) -> Result<()> { //~
        Ok(())
    }
}

fn main() {}
