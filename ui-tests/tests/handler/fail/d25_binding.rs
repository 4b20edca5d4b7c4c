use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&self, ref name: String) -> Result<()> { //~
        drop(name.clone());
        Ok(())
    }
}

fn main() {}
