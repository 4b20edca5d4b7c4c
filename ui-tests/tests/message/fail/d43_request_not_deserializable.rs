use micro::prelude::*;

#[derive(serde::Serialize)]
struct Hello;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&self, hello: Hello) -> Result<()> { //~
        let _ = hello;
        Ok(())
    }
}

fn main() {}
