use micro::prelude::*;

#[derive(serde::Deserialize)]
struct Row;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn watch(&self) -> Result<Streaming<Row>> { //~
        Ok(Streaming::from_iter([]))
    }
}

fn main() {}
