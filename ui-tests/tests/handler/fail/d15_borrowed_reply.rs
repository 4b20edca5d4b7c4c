use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&self) -> Result<&[u8]> { //~
        Ok(&[])
    }
}

fn main() {}
