//! A deprecation follows its method to the client and the descriptor, a conditional one too.

#![deny(warnings)]

use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[cfg_attr(all(), deprecated(note = "use `hello`"))]
    #[handler]
    async fn hi(&self) -> Result<()> {
        Ok(())
    }

    #[cfg_attr(any(), deprecated)]
    #[handler]
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

#[expect(deprecated, reason = "it is")]
fn former(client: &GreeterClient) -> Call<()> {
    client.hi()
}

fn present(client: &GreeterClient) -> Call<()> {
    client.hello()
}

fn main() {
    let _ = (former, present, Greeter);
    let services = micro::catalog();
    let deprecated = |name| services[0].endpoint(name).unwrap().deprecated;
    assert!(deprecated("Greeter.Hi") && !deprecated("Greeter.Hello"));
}
