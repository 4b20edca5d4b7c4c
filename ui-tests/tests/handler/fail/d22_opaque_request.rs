use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&self, name: impl Into<String>) -> Result<String> { //~
        Ok(name.into())
    }
}

fn main() {}
