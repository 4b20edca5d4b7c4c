//! Records: counts that no two sales can spoil, seats that are held for a while, a watch.
//!
//! `cargo run -p store`; with `-- --store file` the counts are there again at the next run.
#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use std::time::Duration;

use micro::prelude::*;
use micro::store::{Event as Change, Query};

/// Sells seats.
#[service]
struct Hall {
    store: Store,
}

#[service]
impl Hall {
    /// Sells one seat of a row and returns how many were sold in it.
    #[handler]
    async fn sell(&self, row: String) -> Result<u32> {
        // Somebody else may sell at the same time: the change is made again on what they wrote.
        self.store.update(&format!("sold/{row}"), |sold| sold.unwrap_or(0) + 1).await
    }

    /// Holds a seat for a moment; refuses one that is held.
    #[handler]
    async fn hold(&self, seat: String) -> Result<()> {
        let key = format!("held/{seat}");
        self.store.put(&key, &true).ttl(Duration::from_millis(300)).if_absent().await?;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    Service::new("hall").wire::<Hall>().after_start(visit).run().await
}

async fn visit(running: Running) -> Result<()> {
    let (hall, store): (HallClient, _) = (running.client(), running.store());
    println!("the store: {}", store.backend());

    for row in ["a", "b", "a"] {
        hall.sell(row.to_owned()).await?;
    }
    for record in store.list(&Query::new().with_prefix("sold/")).await?.records {
        println!("{}: {}", record.key, record.decode::<u32>()?);
    }

    let mut changes = store.watch("held/").await?;
    hall.hold("a7".to_owned()).await?;
    let again = hall.hold("a7".to_owned()).await;
    println!("a7 again: {}", again.map_or_else(|error| error.code(), |()| 200));
    while let Some(change) = changes.next().await {
        match change {
            Change::Put(record) => println!("{} is taken", record.key),
            Change::Delete { key } => {
                println!("{key} is free");
                break;
            }
            _ => break,
        }
    }
    running.shut_down();
    Ok(())
}
