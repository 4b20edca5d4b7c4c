use micro::prelude::*;

#[derive(serde::Serialize, serde::Deserialize)]
struct Reply;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&self) -> Reply { //~
        Reply
    }
}

fn main() {}
