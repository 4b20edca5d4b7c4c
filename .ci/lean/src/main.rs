//! Greets once over loopback.

use tonic::{Request, Response, Status};

mod greeter {
    include!(concat!(env!("OUT_DIR"), "/greeter.Greeter.rs"));
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Message {
    #[prost(string, tag = "1")]
    text: String,
}

struct Greeter;

#[tonic::async_trait]
impl greeter::greeter_server::Greeter for Greeter {
    async fn hello(&self, request: Request<Message>) -> Result<Response<Message>, Status> {
        Ok(Response::new(Message { text: format!("Hello {}", request.into_inner().text) }))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = greeter::greeter_server::GreeterServer::new(Greeter);
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let serving = tonic::transport::Server::builder().add_service(server).serve(address.parse()?);
    let calling = async {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))?;
        let mut client = greeter::greeter_client::GreeterClient::new(endpoint.connect_lazy());
        let reply = client.hello(Message { text: "Ada".to_owned() }).await?;
        println!("{}", reply.into_inner().text);
        Ok(())
    };
    tokio::select! {
        served = serving => Ok(served?),
        called = calling => called,
    }
}
