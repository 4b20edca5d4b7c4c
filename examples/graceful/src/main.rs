//! Stops without losing a call: what runs finishes, what comes late goes elsewhere.
//!
//! `cargo run -p graceful`, then Ctrl-C: the calls in flight end first. A second Ctrl-C cuts them.
#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use std::time::Duration;

use micro::prelude::*;

#[derive(Debug)]
struct Worker;

/// Works slowly.
#[service]
impl Worker {
    /// Works for a number of milliseconds; gives up early when the process is about to stop.
    #[handler]
    async fn work(&self, ctx: &Context, milliseconds: u64) -> Result<String> {
        for done in 0..milliseconds / 10 {
            if ctx.draining() && done > 10 {
                return Ok(format!("stopped after {} ms", done * 10));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(format!("worked for {milliseconds} ms"))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    Service::new("graceful")
        .mount(Worker)
        .flag("once", "stop by itself while a call runs")
        .after_start(call)
        .before_stop(async |running: Running| {
            println!("stopping; {} serves on until it is done", running.url());
            Ok(())
        })
        .after_stop(async || {
            println!("stopped");
            Ok(())
        })
        .run()
        .await
}

async fn call(running: Running) -> Result<()> {
    let worker: WorkerClient = running.client();
    let call = worker.work(300);
    if running.config().find("once")?.unwrap_or(false) {
        running.shut_down();
    }
    println!("{}", call.await?);
    Ok(())
}
