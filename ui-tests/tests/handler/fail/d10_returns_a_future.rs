use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    fn hello(&self) -> impl Future<Output = Result<()>> { //~
        async { Ok(()) }
    }
}

fn main() {}
