use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    const LIMIT: u8 = 3; //~
}

fn main() {}
