use micro::prelude::*;

struct Counter {
    seen: std::cell::Cell<u8>,
}

#[service]
impl Counter { //~
    #[handler]
    async fn count(&self) -> Result<u8> {
        Ok(1)
    }
}

fn main() {
    let _ = Counter { seen: std::cell::Cell::new(1) }.seen;
}
