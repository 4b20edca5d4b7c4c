use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&self, other: Vec<Self>) -> Result<()> { //~
        let _ = other;
        Ok(())
    }
}

fn main() {}
