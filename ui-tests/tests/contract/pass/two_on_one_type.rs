//! One type implements several contracts and has handlers of its own.

#![deny(warnings)]

use micro::prelude::*;

#[service]
trait Orders: Send + Sync + 'static {
    #[handler]
    async fn get(&self) -> Result<u64>;
}

#[service(client = none)]
trait Admin: Send + Sync + 'static {
    #[handler(name = "Reset")]
    async fn get(&self) -> Result<()>;
}

struct Pg;

impl Orders for Pg {
    async fn get(&self) -> Result<u64> {
        Ok(1)
    }
}

impl Admin for Pg {
    async fn get(&self) -> Result<()> {
        Ok(())
    }
}

#[service]
impl Pg {
    #[handler]
    async fn get(&self) -> Result<String> {
        Ok(String::new())
    }
}

fn names<S: micro::Serve>(_: S) -> Vec<&'static str> {
    S::DESCRIPTOR.endpoints.iter().map(|one| one.name).collect()
}

fn main() {
    assert_eq!(names(OrdersServer(Pg)), ["Orders.Get"]);
    assert_eq!(names(AdminServer(Pg)), ["Admin.Reset"]);
    assert_eq!(names(Pg), ["Pg.Get"]);
}
