use micro::prelude::*;

const MADE: Topic<String> = Topic::new("made");

struct Mailer;

#[service]
impl Mailer {
    #[subscriber(topic = MADE)] //~
    async fn on_made(&self, made: u8) -> Result<()> {
        let _ = made;
        Ok(())
    }
}

fn main() {}
