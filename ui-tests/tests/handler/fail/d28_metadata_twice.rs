use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler(metadata(team = "a", team = "b"))] //~
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
