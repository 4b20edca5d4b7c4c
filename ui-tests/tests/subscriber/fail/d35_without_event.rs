use micro::prelude::*;

struct Mailer;

#[service]
impl Mailer {
    #[subscriber(topic = "made")]
    async fn on_made(&self, ctx: &Context) -> Result<()> { //~
        let _ = ctx;
        Ok(())
    }
}

fn main() {}
