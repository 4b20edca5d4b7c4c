use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&self, ctx: &mut Context) -> Result<()> { //~
        let _ = ctx;
        Ok(())
    }
}

fn main() {}
