//! All four kinds of call: one or many messages, each way.
//!
//! `cargo run -p streams`
#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use micro::prelude::*;

#[derive(Debug)]
struct Numbers;

/// Counts, sums and squares.
#[service]
impl Numbers {
    /// One request, one response.
    #[handler]
    async fn double(&self, number: u64) -> Result<u64> {
        Ok(number * 2)
    }

    /// One request, a stream of responses: held back when the caller reads slowly.
    #[handler]
    async fn count(&self, to: u64) -> Result<Streaming<u64>> {
        Ok(Streaming::from_iter(1..=to))
    }

    /// A stream of requests, one response.
    #[handler]
    async fn sum(&self, mut numbers: Streaming<u64>) -> Result<u64> {
        let mut sum = 0;
        while let Some(number) = numbers.next().await {
            sum += number?;
        }
        Ok(sum)
    }

    /// A stream each way.
    #[handler]
    async fn square(&self, numbers: Streaming<u64>) -> Result<Streaming<u64>> {
        Ok(numbers.map(|number| number * number))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let running = Service::new("streams").mount(Numbers).start().await?;
    let numbers: NumbersClient = running.client();

    println!("double: {}", numbers.double(21).await?);

    let mut count = numbers.count(3).await?;
    while let Some(number) = count.next().await {
        println!("count: {}", number?);
    }

    println!("sum: {}", numbers.sum(Streaming::from_iter(1..=10)).await?);

    let (sender, requests) = Streaming::channel(1);
    let mut squares = numbers.square(requests).await?;
    for number in 1..=3 {
        // Each answer is read before the next request is sent.
        sender.send(number).await?;
        if let Some(square) = squares.next().await {
            println!("square: {}", square?);
        }
    }
    drop(sender);
    running.stop().await;
    Ok(())
}
