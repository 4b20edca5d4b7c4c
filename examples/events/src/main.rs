//! Events that fail: one comes again until it succeeds, one is given up and its dead letter read,
//! mended and published again.
//!
//! `cargo run -p events`
#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use micro::broker::DeadLetter;
use micro::prelude::*;
use tokio::sync::mpsc;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Placed {
    order: u64,
}

const PLACED: Topic<Placed> = Topic::new("orders.placed");

/// Events that were given up come to a topic of their own.
const DEAD: Topic<Placed> = Topic::new("orders.placed.dead");

struct Warehouse {
    /// Orders that are packed, and `None` for one that was given up.
    done: mpsc::Sender<Option<u64>>,
}

/// Packs orders.
#[service]
impl Warehouse {
    /// An error decides: what may pass is tried again after a growing pause, the rest is given up.
    #[subscriber(topic = PLACED, queue = "warehouse")]
    async fn on_placed(&self, placed: Event<Placed>) -> Result<()> {
        let (order, attempt) = (placed.order, placed.attempt());
        if order == 13 {
            return Err(Error::not_found("shop", "there is no order 13"));
        }
        if order == 2 && attempt < 3 {
            println!("order 2, delivery {attempt}: the press is busy");
            return Err(Error::unavailable("shop", "the press is busy"));
        }
        println!("order {order}, delivery {attempt}: packed");
        self.say(Some(order)).await
    }

    /// Reads what was given up.
    #[subscriber(topic = DEAD, queue = "desk")]
    async fn on_dead(&self, dead: Event<Placed>) -> Result<()> {
        let letter = DeadLetter::from_message(dead.message())?;
        let times = if letter.attempts == 1 { "delivery" } else { "deliveries" };
        println!("dead: order {} after {} {times}: {}", dead.order, letter.attempts, letter.reason);
        self.say(None).await
    }
}

impl Warehouse {
    async fn say(&self, done: Option<u64>) -> Result<()> {
        let stopped = |_closed| Error::unavailable("shop", "it stops");
        self.done.send(done).await.map_err(stopped)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let (done, mut came) = mpsc::channel(8);
    // With `MICRO_BROKER=http` the same happens between processes, too.
    let running = Service::new("events").mount(Warehouse { done }).start().await?;
    for order in [1, 2, 13] {
        running.broker().publish(&PLACED, &Placed { order }).await?;
    }
    let mut packed = 0;
    while packed < 3 {
        match came.recv().await {
            Some(Some(_)) => packed += 1,
            // The clerk who reads the dead letters finds that 3 was meant.
            Some(None) => running.broker().publish(&PLACED, &Placed { order: 3 }).await?,
            None => break,
        }
    }
    running.stop().await;
    Ok(())
}
