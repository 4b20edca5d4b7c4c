use micro::prelude::*;

#[derive(serde::Deserialize)]
struct Reply;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&self) -> Result<Reply> { //~
        Ok(Reply)
    }
}

fn main() {}
