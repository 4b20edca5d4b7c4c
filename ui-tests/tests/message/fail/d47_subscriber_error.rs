use micro::prelude::*;

struct Fault;

struct Greeter;

#[service]
impl Greeter {
    #[subscriber(topic = "made")]
    async fn on_made(&self, made: u8) -> Result<(), Fault> { //~
        let _ = made;
        Err(Fault)
    }
}

fn main() {}
