use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(name: String) -> Result<String> { //~
        Ok(name)
    }
}

fn main() {}
