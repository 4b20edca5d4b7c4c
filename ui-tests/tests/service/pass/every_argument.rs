//! Arguments reach the descriptor; what a handler says replaces what its service says.

#![deny(warnings)]

use micro::prelude::*;
use std::time::Duration;

struct Orders;

/// Keeps orders.
#[service(
    name = "shop.orders",
    version = "1.4.0-rc.1",
    scope = "orders:read",
    timeout = "5s",
    metadata(team = "core", "x-tier" = "1")
)]
impl Orders {
    /// Gets one,
    /// whatever it is.
    ///
    /// Slowly.
    /// @example {"id":7}
    #[handler(idempotent, metadata(cost = "low"))]
    async fn get(&self, id: u64) -> Result<u64> {
        Ok(id)
    }

    #[handler(name = "Make", scope = ["orders:write", "admin"], timeout = "1m30s", detached)]
    async fn create(&self) -> Result<()> {
        Ok(())
    }

    #[handler(public)]
    #[deprecated = "use get"]
    async fn health(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {
    let descriptor = <Orders as micro::Serve>::DESCRIPTOR;
    assert_eq!((descriptor.name, descriptor.version), ("shop.orders", "1.4.0-rc.1"));
    assert_eq!(descriptor.doc, "Keeps orders.");
    assert_eq!(descriptor.metadata, [("team", "core"), ("x-tier", "1")]);

    let [get, create, health] = descriptor.endpoints else { panic!("three endpoints") };
    assert_eq!(get.name, "Orders.Get");
    assert_eq!(get.description, "Gets one, whatever it is.");
    assert!(get.doc.contains("\n\nSlowly."));
    assert_eq!(get.example, Some(r#"{"id":7}"#));
    assert_eq!(get.scopes, Some(&["orders:read"][..]));
    assert_eq!(get.timeout, Some(Duration::from_secs(5)));
    assert_eq!(get.metadata, [("cost", "low")]);
    assert!(get.idempotent && !get.detached && !get.public && !get.deprecated);

    assert_eq!(create.name, "Orders.Make");
    assert_eq!(create.scopes, Some(&["orders:write", "admin"][..]));
    assert_eq!(create.timeout, Some(Duration::from_secs(90)));
    assert!(create.detached && !create.idempotent);

    assert!(health.public && health.deprecated);
    assert_eq!(health.scopes, None);
}
