use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler(metadata(team = 1))] //~
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
