use micro::prelude::*;

macro_rules! made {
    () => {
        fn made(&self) {}
    };
}

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    made!(); //~
}

fn main() {}
