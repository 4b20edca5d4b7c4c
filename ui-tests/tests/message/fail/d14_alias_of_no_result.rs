use micro::prelude::*;

type ParseResult = Option<u8>;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn parse(&self) -> ParseResult { //~
        Some(1)
    }
}

fn main() {}
