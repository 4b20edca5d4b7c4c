use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&self, ctx: &Context, again: &Context) -> Result<()> { //~
        let _ = (ctx, again);
        Ok(())
    }
}

fn main() {}
