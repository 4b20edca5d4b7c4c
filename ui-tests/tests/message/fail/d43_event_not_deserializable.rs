use micro::prelude::*;

#[derive(serde::Serialize)]
struct Made;

struct Greeter;

#[service]
impl Greeter {
    #[subscriber(topic = "made")]
    async fn on_made(&self, made: Made) -> Result<()> { //~
        let _ = made;
        Ok(())
    }
}

fn main() {}
