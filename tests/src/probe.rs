//! Endpoints of every kind that tell which process served them.

use std::path::Path;
use std::time::Duration;

use micro::prelude::*;

use crate::gauges::{Alive, Gauges};

/// Pause between looks for a path.
const LOOK: Duration = Duration::from_millis(5);

/// Bytes of each item of an endless stream: few fill the window of a reader that does not read.
const ITEM_BYTES: usize = 16 * 1024;

/// Serves as one of several nodes.
#[derive(Debug)]
pub struct Probe {
    /// The name by which tests tell this process from others.
    pub node: String,
}

/// Tells which process serves, in every kind of call.
#[service(name = "probe")]
impl Probe {
    /// Returns the name of the process; as good twice as once.
    #[handler(idempotent)]
    pub async fn read(&self) -> Result<String> {
        let _alive = Alive::new();
        tokio::task::yield_now().await;
        Ok(self.node.clone())
    }

    /// Returns the name of the process; must not be repeated.
    #[handler]
    pub async fn write(&self) -> Result<String> {
        let _alive = Alive::new();
        tokio::task::yield_now().await;
        Ok(self.node.clone())
    }

    /// Returns the name of the process once a path exists; must not be repeated.
    #[handler]
    pub async fn wait(&self, path: String) -> Result<String> {
        let _alive = Alive::new();
        eprintln!("waiting for {path}");
        while !Path::new(&path).exists() {
            tokio::time::sleep(LOOK).await;
        }
        Ok(self.node.clone())
    }

    /// Never returns.
    #[handler]
    pub async fn hang(&self) -> Result<()> {
        let _alive = Alive::new();
        std::future::pending().await
    }

    /// Panics, at once or after a pause.
    #[handler]
    pub async fn panic(&self, pause: bool) -> Result<()> {
        let _alive = Alive::new();
        if pause {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("a handler panics on demand");
    }

    /// Counts from one; the items are spread over time.
    #[handler]
    pub async fn count(&self, to: u64) -> Result<Streaming<u64>> {
        let alive = Alive::new();
        let (sender, numbers) = Streaming::channel(1);
        Context::current()
            .spawn(async move {
                let _alive = alive;
                for number in 1..=to {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    if sender.send(number).await.is_err() {
                        return;
                    }
                }
            })
            .detach();
        Ok(numbers)
    }

    /// Sends large items for ever, as fast as the caller reads.
    #[handler]
    pub async fn endless(&self) -> Result<Streaming<String>> {
        let alive = Alive::new();
        let item = "x".repeat(ITEM_BYTES);
        Ok(Streaming::from_iter((0_u64..).map(move |_| {
            let _held = &alive;
            item.clone()
        })))
    }

    /// Sums a stream up.
    #[handler]
    pub async fn sum(&self, mut numbers: Streaming<u64>) -> Result<u64> {
        let _alive = Alive::new();
        let mut sum = 0;
        while let Some(number) = numbers.next().await {
            sum += number?;
        }
        Ok(sum)
    }

    /// Answers each item by its square.
    #[handler]
    pub async fn square(&self, numbers: Streaming<u64>) -> Result<Streaming<u64>> {
        let alive = Alive::new();
        Ok(numbers.map(move |number| {
            let _held = &alive;
            number * number
        }))
    }

    /// Measures the process.
    #[handler(idempotent)]
    pub async fn gauges(&self) -> Result<Gauges> {
        // A handler that pends is a task, always: the count of tasks includes this one.
        tokio::task::yield_now().await;
        Ok(Gauges::read())
    }
}
