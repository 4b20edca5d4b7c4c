//! A free subscriber stays a function, beside the type that mounts it.

#![deny(warnings)]

use micro::prelude::*;

pub const MADE: Topic<String> = Topic::new("made");

/// Audits everything.
#[subscriber(topic = "audit.*", queue = "audit")]
pub async fn audit(ctx: &Context, event: Event<Raw>) -> Result<()> {
    let _ = ctx;
    drop(event);
    Ok(())
}

#[subscriber(topic = MADE)]
async fn on_made(made: String) -> Result<()> {
    drop(made);
    Ok(())
}

mod elsewhere {
    use micro::prelude::*;

    #[subscriber(topic = super::MADE)]
    pub(crate) async fn on_made(made: String) -> Result<()> {
        drop(made);
        Ok(())
    }
}

fn spec<S: micro::Subscriber>() -> (&'static str, &'static str, Option<&'static str>) {
    (S::SPEC.name, S::SPEC.topic, S::SPEC.queue)
}

fn main() {
    let _ = on_made("order".to_owned());
    assert_eq!(spec::<audit>(), ("Audit", "audit.*", Some("audit")));
    assert_eq!(spec::<on_made>(), ("OnMade", "made", None));
    assert_eq!(spec::<elsewhere::on_made>(), ("OnMade", "made", None));
    assert_eq!(<audit as micro::Subscriber>::SPEC.description, "Audits everything.");
}
