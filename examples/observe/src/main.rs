//! What services show of themselves: a call across two of them as one trace, the log, the numbers.
//!
//! `cargo run -p observe`; with `-- --keep` it serves on, for `micro stats` and `micro logs -f`.
#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use std::time::Duration;

use micro::debug::{Record, SpanQuery, Stats};
use micro::prelude::*;
use micro::service::observe::{LogRequest, Spans};

struct Stock;

/// Knows what is there.
#[service]
impl Stock {
    /// Takes pieces out.
    #[handler]
    async fn take(&self, count: u32) -> Result<u32> {
        match count {
            0..10 => Ok(count),
            _ => Err(Error::conflict("stock", "sold out")),
        }
    }
}

/// Sells.
#[service]
struct Shop {
    stock: StockClient,
}

#[service]
impl Shop {
    /// Sells pieces.
    #[handler]
    async fn buy(&self, count: u32) -> Result<u32> {
        tracing::warn!(count, "a large order");
        self.stock.take(count).await
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let stock = Service::new("stock").mount(Stock).start().await?;
    let shop = Service::new("shop").wire::<Shop>().flag("keep", "serve on").after_start(look);
    let served = shop.run().await;
    stock.stop().await;
    served
}

async fn look(running: Running) -> Result<()> {
    let (shop, client): (ShopClient, Client) = (running.client(), running.client());
    println!("bought: {:?}", shop.buy(10).await.map_err(|error| error.code()));

    let mut kept: Spans = Spans::default();
    // A call is kept when it is over, which may be a moment after its answer.
    while kept.spans.len() < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        kept = client.call("shop", "Debug.Trace", &SpanQuery::default()).await?;
    }
    let there: Spans = client.call("stock", "Debug.Trace", &SpanQuery::default()).await?;
    for span in kept.spans.iter().chain(&there.spans) {
        println!("trace {}: {:?} {}, {}", span.trace, span.kind, span.name, span.code);
    }

    let stats: Stats = client.call("stock", "Debug.Stats", &()).await?;
    println!("stock: {} requests, {} errors", stats.requests, stats.errors);

    let log = client.server_stream("shop", "Debug.Log", &LogRequest::default());
    let mut log: Streaming<Record> = log.await?;
    while let Some(record) = log.next().await {
        println!("log: {}", record?.message);
    }
    if !running.config().find("keep")?.unwrap_or(false) {
        running.shut_down();
    }
    Ok(())
}
