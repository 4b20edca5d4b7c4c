//! Subscribers, in a service and on their own.

use micro::Context;
use micro::Event;
use micro::Raw;
use micro::Result;
use micro::Topic;
use micro::service;
use micro::subscriber;

/// An order was made.
pub const MADE: Topic<u64> = Topic::new("orders.made");

/// Sends mail.
#[derive(Debug)]
pub struct Mailer;

#[service]
impl Mailer {
    #[subscriber(topic = MADE, queue = "mailer", concurrency = 8)]
    async fn on_made(&self, order: u64) -> Result<()> {
        let _ = order;
        Ok(())
    }

    #[subscriber(topic = MADE, ack = manual)]
    async fn on_late(&self, ctx: &Context, order: Event<u64>) -> Result<()> {
        let _ = ctx;
        drop(order);
        Ok(())
    }
}

/// Audits everything.
///
/// # Errors
///
/// None.
#[subscriber(topic = "audit.*")]
pub async fn audit(ctx: &Context, event: Event<Raw>) -> Result<()> {
    let _ = ctx;
    drop(event);
    Ok(())
}
