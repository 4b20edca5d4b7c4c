use micro::prelude::*;

struct Mailer;

#[service]
impl Mailer {
    #[subscriber(topic = "made", overflow = drop)] //~
    async fn on_made(&self, made: u8) -> Result<()> {
        let _ = made;
        Ok(())
    }
}

fn main() {}
