//! The least a service needs.

#![deny(warnings)]

use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&self, name: String) -> Result<String> {
        Ok(format!("Hello {name}"))
    }
}

fn main() {
    let descriptor = <Greeter as micro::Serve>::DESCRIPTOR;
    assert_eq!(descriptor.name, "greeter");
    assert_eq!(descriptor.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(descriptor.type_name, "Greeter");
    assert_eq!(descriptor.endpoints[0].name, "Greeter.Hello");
    assert_eq!(<Greeter as micro::Serve>::ENDPOINTS.len(), 1);
}
