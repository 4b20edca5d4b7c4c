use micro::prelude::*;

#[derive(serde::Serialize, serde::Deserialize)]
struct Hello {
    name: String,
}

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&self, Hello { name }: Hello) -> Result<String> { //~
        Ok(name)
    }
}

fn main() {}
