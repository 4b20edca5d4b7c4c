use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn get_user(&self) -> Result<()> { //~
        Ok(())
    }

    #[handler(name = "GetUser")]
    async fn user(&self) -> Result<()> { //~
        Ok(())
    }
}

fn main() {}
