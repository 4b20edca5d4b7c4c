//! Topics are strings or typed constants; events come bare or in their envelope.

#![deny(warnings)]

use micro::prelude::*;

mod topics {
    use micro::prelude::*;

    pub const MADE: Topic<String> = Topic::new("orders.made");
}

struct Mailer;

impl Mailer {
    const GONE: Topic<u64> = Topic::new("orders.gone");
}

#[service]
impl Mailer {
    #[subscriber(topic = topics::MADE, queue = "mailer", concurrency = 8)]
    async fn on_made(&self, order: String) -> Result<()> {
        drop(order);
        Ok(())
    }

    #[subscriber(topic = Mailer::GONE, ack = auto)]
    async fn on_gone(&self, ctx: &Context, order: Event<u64>) -> Result<()> {
        let _ = ctx;
        drop(order);
        Ok(())
    }

    #[subscriber(topic = "orders.paid", ack = manual)]
    async fn on_paid(&self, order: Event<u64>) -> Result<()> {
        drop(order);
        Ok(())
    }

    #[subscriber(topic = topics::MADE, overflow = drop_oldest)]
    async fn on_any(&self, order: Event<Raw>) -> Result<()> {
        drop(order);
        Ok(())
    }

    #[subscriber(topic = "audit.*")]
    async fn on_audit(&self, order: Event<micro::Raw>) -> Result<()> {
        drop(order);
        Ok(())
    }
}

fn main() {
    let specs = <Mailer as micro::Serve>::DESCRIPTOR.subscriptions;
    let topics: Vec<_> = specs.iter().map(|spec| spec.topic).collect();
    let known = ["orders.made", "orders.gone", "orders.paid", "orders.made", "audit.*"];
    assert_eq!(topics, known);
    assert_eq!(specs[0].name, "Mailer.OnMade");
    assert_eq!((specs[0].queue, specs[0].concurrency), (Some("mailer"), 8));
    assert_eq!((specs[1].queue, specs[1].concurrency), (None, 0));
    assert!(specs[2].manual_ack && !specs[1].manual_ack);
    let overflow: Vec<_> = specs.iter().map(|spec| spec.overflow).collect();
    use micro::broker::Overflow::{Block, DropOldest};
    assert_eq!(overflow, [Block, Block, Block, DropOldest, Block]);
    assert_eq!(<Mailer as micro::Serve>::SUBSCRIPTIONS.len(), 5);
}
