use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn create_order(&self, sku: String, count: u32) -> Result<()> { //~
        let _ = (sku, count);
        Ok(())
    }
}

fn main() {}
