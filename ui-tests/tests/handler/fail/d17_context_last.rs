use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&self, name: String, ctx: &Context) -> Result<String> { //~
        let _ = ctx;
        Ok(name)
    }
}

fn main() {}
