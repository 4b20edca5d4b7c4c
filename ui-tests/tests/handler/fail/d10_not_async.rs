use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    fn hello(&self) -> Result<()> { //~
        Ok(())
    }
}

fn main() {}
