use micro::prelude::*;

struct Greeter;

impl Greeter {
    #[handler] //~
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {
    let _ = Greeter.hello();
}
