use micro::prelude::*;

struct Mailer;

#[service]
impl Mailer {
    #[cfg_attr(all(), subscriber(topic = "handlers.made"))] //~
    async fn on_made(&self, made: u8) -> Result<()> {
        let _ = made;
        Ok(())
    }
}

fn main() {}
