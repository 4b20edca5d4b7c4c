//! A service and its typed client. The start line says how to call it with curl, too.
//!
//! `cargo run -p hello` serves until Ctrl-C; `cargo run -p hello -- --once` greets and ends.
#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use micro::prelude::*;

#[derive(Debug, Serialize, Deserialize)]
struct HelloRequest {
    name: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct HelloReply {
    message: String,
}

#[derive(Debug, Default)]
struct Greeter;

/// Greets people.
#[service(name = "greeter")]
impl Greeter {
    /// Says hello.
    ///
    /// @example {"name": "Ada"}
    #[handler]
    async fn hello(&self, req: HelloRequest) -> Result<HelloReply> {
        Ok(HelloReply { message: format!("Hello {}", req.name) })
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let service = Service::new("hello").mount(Greeter).flag("once", "greet and end");
    service.after_start(greet).run().await
}

/// Calls the service as any other process would: found by its name, over the network.
async fn greet(running: Running) -> Result<()> {
    let greeter: GreeterClient = running.client();
    let reply = greeter.hello(HelloRequest { name: "Ada".into() }).await?;
    println!("{}", reply.message);
    if running.config().find("once")?.unwrap_or(false) {
        running.shut_down();
    }
    Ok(())
}
