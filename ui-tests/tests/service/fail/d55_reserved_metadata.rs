use micro::prelude::*;

struct Greeter;

#[service(metadata(scopes = "admin"))] //~
impl Greeter {
    #[handler]
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
