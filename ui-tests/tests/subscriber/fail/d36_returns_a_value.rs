use micro::prelude::*;

struct Mailer;

#[service]
impl Mailer {
    #[subscriber(topic = "made")]
    async fn on_made(&self, made: u8) -> Result<u8> { //~
        Ok(made)
    }
}

fn main() {}
