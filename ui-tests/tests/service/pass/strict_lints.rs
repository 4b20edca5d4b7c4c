//! Generated code warns about nothing.

#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    elided_lifetimes_in_paths,
    let_underscore_drop,
    redundant_lifetimes,
    single_use_lifetimes,
    trivial_casts,
    trivial_numeric_casts,
    unnameable_types,
    unreachable_pub,
    unused_import_braces,
    unused_lifetimes,
    unused_qualifications,
    unused_results
)]
#![forbid(unsafe_code)]

use micro::prelude::*;

const MADE: Topic<u64> = Topic::new("made");

#[derive(Debug)]
struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&self, ctx: &Context, mut name: String) -> Result<String> {
        name.push_str(ctx.remote().map_or("?", |_| "!"));
        Ok(name)
    }

    #[handler]
    #[deprecated]
    async fn old(&self) -> Result<()> {
        Ok(())
    }

    #[subscriber(topic = MADE)]
    async fn on_made(&self, id: u64) -> Result<()> {
        let _ = id;
        Ok(())
    }
}

/// Keeps orders.
#[service]
pub trait Orders: Send + Sync + 'static {
    /// Gets one.
    #[handler]
    async fn get(&self, id: u64) -> Result<u64>;

    /// Watches all.
    #[handler]
    async fn watch(&self) -> Result<Streaming<u64>>;
}

#[service]
#[derive(Debug)]
struct Wired {
    orders: OrdersClient,
    #[wire(default)]
    count: u8,
}

#[subscriber(topic = "audit.*")]
async fn audit(event: Event<Raw>) -> Result<()> {
    drop(event);
    Ok(())
}

fn main() {
    let _ = |wired: Wired| (wired.orders, wired.count);
    let _ = (Greeter, audit);
}
