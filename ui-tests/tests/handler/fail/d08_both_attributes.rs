use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    #[subscriber(topic = "made")] //~
    async fn hello(&self, made: u8) -> Result<()> {
        let _ = made;
        Ok(())
    }
}

fn main() {}
