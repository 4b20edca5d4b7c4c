//! A service, its typed client, and the command that calls it with curl.
//!
//! `cargo run -p hello` serves until Ctrl-C; `cargo run -p hello -- --once` greets and ends.
#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use micro::prelude::*;

#[derive(Debug, Serialize, Deserialize)]
pub struct HelloRequest {
    pub name: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct HelloReply {
    pub message: String,
}

#[derive(Default)]
pub struct Greeter;

/// Greets people.
#[service(name = "greeter")]
impl Greeter {
    /// Says hello.
    ///
    /// @example {"name": "Ada"}
    #[handler]
    pub async fn hello(&self, req: HelloRequest) -> Result<HelloReply> {
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
    let body = r#"{"name":"Ada"}"#;
    println!("try: curl {}/greeter/Greeter.Hello -d '{body}'", running.url());
    if running.config().find("once")?.unwrap_or(false) {
        running.shut_down();
    }
    Ok(())
}
