use micro::prelude::*;

#[service]
impl (u8, u8) { //~
    #[handler]
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
