use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler(metadata = "team")] //~
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
