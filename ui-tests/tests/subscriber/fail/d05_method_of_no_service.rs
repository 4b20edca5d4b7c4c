use micro::prelude::*;

struct Mailer;

impl Mailer {
    #[subscriber(topic = "made")] //~
    async fn on_made(&self, made: u8) -> Result<()> {
        let _ = made;
        Ok(())
    }
}

fn main() {
    let _ = Mailer.on_made(1);
}
