use micro::prelude::*;

async fn later() {}

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&self) -> Result<()> { //~
        let shared = std::rc::Rc::new(1);
        later().await;
        drop(shared);
        Ok(())
    }
}

fn main() {}
