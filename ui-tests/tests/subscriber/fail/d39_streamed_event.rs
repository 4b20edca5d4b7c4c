use micro::prelude::*;

struct Mailer;

#[service]
impl Mailer {
    #[subscriber(topic = "made")]
    async fn on_made(&self, made: Streaming<u8>) -> Result<()> { //~
        let _ = made;
        Ok(())
    }
}

fn main() {}
