use micro::prelude::*;

#[derive(serde::Serialize)]
struct Row;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn import(&self, rows: Streaming<Row>) -> Result<u64> { //~
        let _ = rows;
        Ok(1)
    }
}

fn main() {}
