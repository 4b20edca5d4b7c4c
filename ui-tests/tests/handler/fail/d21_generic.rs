use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello<T: Send + 'static>(&self) -> Result<()> { //~
        Ok(())
    }
}

fn main() {}
