//! Endpoints of every kind that tell which process served them.

use std::time::Duration;

use micro::prelude::*;

use crate::gauges::{Alive, Gauges};

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

    /// Returns the name of the process after a number of milliseconds; must not be repeated.
    #[handler]
    pub async fn slow(&self, milliseconds: u64) -> Result<String> {
        let _alive = Alive::new();
        eprintln!("slow began");
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        eprintln!("slow ended");
        Ok(self.node.clone())
    }

    /// Never returns.
    #[handler]
    pub async fn hang(&self) -> Result<()> {
        let _alive = Alive::new();
        eprintln!("hang began");
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

    /// Counts for ever, as fast as the caller reads.
    #[handler]
    pub async fn endless(&self) -> Result<Streaming<u64>> {
        let alive = Alive::new();
        Ok(Streaming::from_iter((0..).inspect(move |_| {
            let _held = &alive;
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
        Ok(Gauges::read())
    }
}
