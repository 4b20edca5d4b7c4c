//! The impl may stand in another module than the type, and near names like the macro's own.

#![deny(warnings)]

use micro::prelude::*;

mod types {
    pub struct Greeter;
}

mod micro_ {}

#[service]
impl types::Greeter {
    #[handler]
    async fn hello(&self) -> Result<()> {
        Ok(())
    }

    #[handler]
    async fn clone(&self) -> Result<()> {
        Ok(())
    }

    #[handler]
    async fn from(&self) -> Result<()> {
        Ok(())
    }

    #[handler]
    async fn fmt(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {
    let _ = |client: &GreeterClient| (client.hello(), client.clone(), client.from(), client.fmt());
    let _ = types::Greeter;
}
