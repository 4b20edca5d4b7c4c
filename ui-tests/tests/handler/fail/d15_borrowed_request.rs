use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&self, name: &str) -> Result<String> { //~
        Ok(name.to_owned())
    }
}

fn main() {}
