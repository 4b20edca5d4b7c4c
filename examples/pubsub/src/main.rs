//! Events: a typed topic, a service that listens as one of a group, and a free function that
//! sees everything.
//!
//! `cargo run -p pubsub`
#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use micro::prelude::*;
use tokio::sync::mpsc;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Paid {
    order: u64,
    cents: u64,
}

/// Publishers and subscribers agree on the type through this constant.
const PAID: Topic<Paid> = Topic::new("orders.paid");

struct Mailer {
    sent: mpsc::Sender<u64>,
}

/// Writes receipts.
#[service]
impl Mailer {
    /// Each event goes to one member of the group `mailer`.
    #[subscriber(topic = PAID, queue = "mailer", concurrency = 8)]
    async fn on_paid(&self, paid: Paid) -> Result<()> {
        println!("receipt for order {}: {} cents", paid.order, paid.cents);
        // An error here would bring the event back.
        self.sent
            .send(paid.order)
            .await
            .map_err(|_closed| Error::unavailable("mailer", "it stopped"))
    }
}

/// Sees every event, whoever else does.
#[subscriber(topic = PAID)]
async fn audit(event: Event<Paid>) -> Result<()> {
    println!("audit: {} on {}", event.order, event.topic());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let (sent, mut receipts) = mpsc::channel(8);
    let service = Service::new("pubsub").mount(Mailer { sent }).subscribe::<audit>();
    let running = service.start().await?;
    for order in 1..=3 {
        running.broker().publish(&PAID, &Paid { order, cents: order * 100 }).await?;
    }
    for _ in 1..=3 {
        receipts.recv().await;
    }
    running.stop().await;
    Ok(())
}
