//! A process that only calls: greets a name through whatever registry its environment names.

use micro::prelude::*;
use micro_tests::greeter::{GreeterClient, HelloRequest};

#[tokio::main]
async fn main() -> Result<()> {
    let greeter: GreeterClient = Client::connect().await?.into();
    let name = std::env::args().nth(1).unwrap_or_default();
    let reply = greeter.hello(HelloRequest { name }).await?;
    println!("{}", reply.message);
    Ok(())
}
