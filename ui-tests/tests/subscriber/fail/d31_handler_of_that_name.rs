use micro::prelude::*;

struct Mailer;

#[service]
impl Mailer {
    #[handler(name = "OnMade")]
    async fn made(&self) -> Result<()> { //~
        Ok(())
    }

    #[subscriber(topic = "made")]
    async fn on_made(&self, made: u8) -> Result<()> { //~
        let _ = made;
        Ok(())
    }
}

fn main() {}
