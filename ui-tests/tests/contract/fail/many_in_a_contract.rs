use micro::prelude::*;

#[service]
trait Orders: Send + Sync + 'static {
    #[handler]
    fn first(&self, ctx: &Context) -> Result<()>; //~

    #[subscriber(topic = "made")] //~
    async fn second(&self, made: u8) -> Result<()>;

    fn third(&self) -> u8; //~

    #[handler]
    async fn fourth(&mut self) -> u8; //~
}

fn main() {}
