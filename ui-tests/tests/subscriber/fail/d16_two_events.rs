use micro::prelude::*;

struct Mailer;

#[service]
impl Mailer {
    #[subscriber(topic = "made")]
    async fn on_made(&self, made: u8, more: u8) -> Result<()> { //~
        let _ = (made, more);
        Ok(())
    }
}

fn main() {}
