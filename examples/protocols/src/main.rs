//! One service for every kind of client: HTTP, server-sent events, WebSocket, JSON-RPC and gRPC on
//! one port. Here a stream both ways is called by gRPC.
//!
//! `cargo run -p protocols`; tools of gRPC read `shop.desc`, made of `shop.proto`.
#![allow(clippy::print_stdout, reason = "a program talks to its user")]

mod messages;

use micro::codec::Format;
use micro::prelude::*;

use self::messages::{Number, Text, Why};

#[derive(Debug)]
struct Shop;

/// Answers in every way.
#[service]
impl Shop {
    /// Says what it is told.
    ///
    /// @example {"text": "hello"}
    #[handler(idempotent)]
    async fn echo(&self, req: Text) -> Result<Text> {
        Ok(req)
    }

    /// Fails with the text, and with details.
    #[handler]
    async fn fail(&self, req: Text) -> Result<Text> {
        let why = Why { field: "text".to_owned(), most: 7 };
        Err(Error::bad_request("shop.check", req.text).with_details(&why))
    }

    /// Waits for ever; the caller's deadline, or its leaving, ends it.
    #[handler]
    async fn hang(&self, _req: Text) -> Result<Text> {
        std::future::pending().await
    }

    /// Counts up to a number.
    #[handler]
    async fn count(&self, to: Number) -> Result<Streaming<Number>> {
        Ok(Streaming::from_iter((0..to.number).map(|number| Number { number })))
    }

    /// Adds numbers.
    #[handler]
    async fn sum(&self, mut numbers: Streaming<Number>) -> Result<Number> {
        let mut sum = Number { number: 0 };
        while let Some(next) = numbers.next().await {
            sum.number = sum.number.saturating_add(next?.number);
        }
        Ok(sum)
    }

    /// Doubles numbers as they come.
    #[handler]
    async fn double(&self, numbers: Streaming<Number>) -> Result<Streaming<Number>> {
        Ok(numbers.map(|next| Number { number: next.number.saturating_mul(2) }))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let service = Service::new("shop").mount(Shop).descriptors(include_bytes!("../shop.desc"));
    service.flag("once", "call by gRPC and end").after_start(call).run().await
}

async fn call(running: Running) -> Result<()> {
    let address = format!("grpc://{}", running.address());
    let numbers = Streaming::from_iter((1..=3).map(|number| Number { number }));
    let client = Client::connect().await?.in_format(Format::Proto);
    let doubled = ShopClient::from(client).double(numbers).to(&address).await?;
    println!("by gRPC: {:?}", doubled.collect(3).await?);
    if running.config().find("once")?.unwrap_or(false) {
        running.shut_down();
    }
    Ok(())
}
