use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&self) -> Result<impl Iterator<Item = u8>> { //~
        Ok(std::iter::empty())
    }
}

fn main() {}
