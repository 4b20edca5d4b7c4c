use micro::prelude::*;

struct Greeter;

#[service(version = "one.two.three")] //~
impl Greeter {
    #[handler]
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
