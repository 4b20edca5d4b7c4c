use micro::prelude::*;

struct Greeter;

impl Greeter {
    #[handler(__micro)] //~
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {
    let _ = Greeter.hello();
}
