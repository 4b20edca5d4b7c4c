use micro::prelude::*;

struct Greeter;
#[derive(serde::Serialize)]
struct Reply;

#[service(versoin = "1.0.0", timeout = 5)] //~
impl Greeter {
    #[handler]
    fn hello(&mut self, name: &str) -> Reply { //~
        Reply
    }

    #[handler(retry, name = "a b")] //~
    async fn get<T>(self, ctx: Context) {} //~

    #[handler]
    #[subscriber(topic = "made")] //~
    async fn both(&self, a: u8, b: u8) -> Result<()> { //~
        Ok(())
    }

    #[subscriber(topic = "made", ack = manual)] //~
    async fn on_made(&self, made: u8) -> Result<u8> { //~
        Ok(made)
    }

    #[handler]
    const LIMIT: u8 = 3; //~
}

fn main() {}
