use micro::prelude::*;

#[derive(serde::Serialize, serde::Deserialize)]
struct Named<'a>(&'a str);

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&self, name: Named<'_>) -> Result<()> { //~
        let _ = name.0;
        Ok(())
    }
}

fn main() {}
