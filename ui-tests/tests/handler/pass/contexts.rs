//! The context comes by reference or by value, under any name and path.

#![deny(warnings)]

use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn by_reference(&self, ctx: &Context) -> Result<()> {
        let _ = ctx;
        Ok(())
    }

    #[handler]
    async fn by_value(&self, ctx: Context, name: String) -> Result<String> {
        let _ = ctx;
        Ok(name)
    }

    #[handler]
    async fn by_path(&self, _: &micro::Context, rows: Streaming<u8>) -> Result<Streaming<u8>> {
        Ok(rows)
    }
}

fn main() {
    let _ = |client: &GreeterClient| (client.by_reference(), client.by_value(String::new()));
    let _ = Greeter;
}
