use micro::prelude::*;

struct Fault;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&self) -> Result<(), Fault> { //~
        Err(Fault)
    }
}

fn main() {}
