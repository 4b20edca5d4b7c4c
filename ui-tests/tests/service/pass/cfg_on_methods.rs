//! What `cfg` removes is nowhere: not in the tables, not in the client.

#![deny(warnings)]

use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[cfg(any())]
    #[handler]
    async fn gone(&self, missing: Missing) -> Result<Missing> {
        Ok(missing)
    }

    #[cfg(all())]
    #[handler]
    async fn kept(&self) -> Result<u8> {
        Ok(1)
    }

    #[cfg(any())]
    #[handler(name = "Twin")]
    async fn this(&self) -> Result<()> {
        Ok(())
    }

    #[cfg(all())]
    #[handler(name = "Twin")]
    async fn that(&self) -> Result<()> {
        Ok(())
    }

    #[cfg(any())]
    #[subscriber(topic = MISSING)]
    async fn on_gone(&self, missing: Missing) -> Result<()> {
        Ok(())
    }
}

#[service]
trait Orders: Send + Sync + 'static {
    #[cfg(any())]
    #[handler]
    async fn gone(&self, missing: Missing) -> Result<Missing>;

    #[cfg(any())]
    #[handler]
    async fn kept(&self, missing: Missing) -> Result<Missing>;

    #[cfg(all())]
    #[handler]
    async fn kept(&self) -> Result<u8>;
}

impl Orders for Greeter {
    async fn kept(&self) -> Result<u8> {
        Ok(1)
    }
}

fn main() {
    let _ = |client: &GreeterClient| (client.kept(), client.that());
    let names: Vec<_> =
        <Greeter as micro::Serve>::DESCRIPTOR.endpoints.iter().map(|one| one.name).collect();
    assert_eq!(names, ["Greeter.Kept", "Greeter.Twin"]);
    assert_eq!(<Greeter as micro::Serve>::ENDPOINTS.len(), 2);
    assert_eq!(<Greeter as micro::Serve>::SUBSCRIPTIONS.len(), 0);
    assert_eq!(<OrdersServer<Greeter> as micro::Serve>::ENDPOINTS.len(), 1);
}
