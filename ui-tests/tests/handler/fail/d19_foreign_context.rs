use micro::prelude::*;

mod mine {
    pub struct Context;
}

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&self, ctx: &mine::Context) -> Result<()> { //~
        let _ = ctx;
        Ok(())
    }
}

fn main() {}
