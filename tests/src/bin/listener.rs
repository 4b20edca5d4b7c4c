//! A process that writes down the events it gets, one by one, before it acknowledges them.
//!
//! `listener QUEUE FILE`: each event is a number of eight bytes, appended to the file as such. The
//! queue `-` is none.

use std::fs::OpenOptions;
use std::io::Write;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use micro::broker::{Ack, Delivery, Handler, SubscribeOptions, Subscription};
use micro::prelude::*;
use micro::service::Running;
use micro_tests::NUMBERS;

/// Events that are handled at a time.
const CONCURRENCY: NonZeroUsize = NonZeroUsize::new(8).unwrap();

/// How long each event takes, so that some always wait.
const WORK: Duration = Duration::from_millis(1);

static SUBSCRIPTION: OnceLock<Subscription> = OnceLock::new();

#[tokio::main]
async fn main() -> Result<()> {
    Service::new("listener").no_args().after_start(listen).run().await
}

async fn listen(running: Running) -> Result<()> {
    let arg = |place| std::env::args().nth(place).unwrap_or_default();
    let (queue, path) = (arg(1), arg(2));
    let file = OpenOptions::new().create(true).append(true).open(path);
    let file = Arc::new(file.map_err(|error| Error::internal("listener", error.to_string()))?);
    let handler: Handler = Arc::new(move |delivery: Delivery| {
        let file = Arc::clone(&file);
        Box::pin(async move {
            tokio::time::sleep(WORK).await;
            // An append is in the hands of the system when it returns: a kill takes none back.
            match (&*file).write_all(&delivery.message.body) {
                Ok(()) => Ack::Ack,
                Err(_) => Ack::RETRY,
            }
        })
    });
    let options = SubscribeOptions::default().with_concurrency(CONCURRENCY);
    let options = if queue == "-" { options } else { options.with_queue(queue) };
    let publisher = running.broker();
    let subscription = publisher.broker().subscribe(NUMBERS, options, handler).await?;
    let _first = SUBSCRIPTION.set(subscription).is_ok();
    eprintln!("listens");
    Ok(())
}
