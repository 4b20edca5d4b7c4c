//! Three services that share events, a store and settings, on whatever the environment names.
//!
//! `cargo run -p shop` runs all three in one process and buys; `-- stock`, `-- orders`, `-- post`
//! run one each, for three processes, and `-- buy` buys from them. On servers, for instance:
//! `MICRO_REGISTRY=nats MICRO_BROKER=jetstream MICRO_STORE=nats cargo run -p shop -F nats`.
#![allow(clippy::print_stdout, reason = "a program talks to its user")]

mod orders;
mod post;
mod stock;

use std::time::Duration;

use micro::config;
use micro::prelude::*;
use serde_json::json;

use self::orders::{Order, Orders, OrdersClient};
use self::post::{Post, PostClient};
use self::stock::Stock;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let part = match arguments.first() {
        Some(first) if !first.starts_with('-') => arguments.remove(0),
        _ => "all".to_owned(),
    };
    let defaults = config::Memory::new("shop", json!({ "shelf": { "count": 7 } }));
    let service = Service::new("shop").args(arguments).config(defaults);
    match part.as_str() {
        "stock" => service.wire::<Stock>().run().await,
        "orders" => service.wire::<Orders>().run().await,
        "post" => service.wire::<Post>().run().await,
        "buy" => buy(&Client::connect().await?).await,
        "all" => {
            let running = service.wire::<Stock>().wire::<Orders>().wire::<Post>().start().await?;
            let bought = buy(&running.client()).await;
            running.stop().await;
            bought
        }
        other => {
            let detail = format!("no part `{other}`: there are stock, orders, post, buy");
            Err(Error::bad_request("shop", detail))
        }
    }
}

/// Buys until the shelf is empty, and waits for the receipts.
async fn buy(client: &Client) -> Result<()> {
    let (orders, post) = (OrdersClient::from(client.clone()), PostClient::from(client.clone()));
    let mut placed = Vec::new();
    loop {
        match orders.place(Order { item: "tea".to_owned(), count: 2 }).await {
            Ok(id) => placed.push(id),
            Err(error) if error.code() == 409 => break println!("{}", error.detail()),
            Err(error) => return Err(error),
        }
    }
    for id in &placed {
        println!("{}", receipt(&post, *id).await?);
    }
    println!("orders: {}", placed.len());
    Ok(())
}

/// Asks until the receipt is there: an event takes its time.
async fn receipt(post: &PostClient, id: u64) -> Result<String> {
    for _ in 0..200 {
        if let Some(receipt) = post.receipt(id).await? {
            return Ok(receipt);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(Error::not_found("shop", format!("no receipt came for order {id}")))
}
