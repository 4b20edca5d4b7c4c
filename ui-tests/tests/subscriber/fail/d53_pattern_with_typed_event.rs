use micro::prelude::*;

struct Mailer;

#[service]
impl Mailer {
    #[subscriber(topic = "audit.*")] //~
    async fn on_audit(&self, made: Event<u8>) -> Result<()> {
        let _ = made;
        Ok(())
    }
}

fn main() {}
