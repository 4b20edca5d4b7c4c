//! Services live in functions as well.

#![deny(warnings)]

use micro::prelude::*;

fn main() {
    struct Local;

    #[service]
    impl Local {
        #[handler]
        async fn hello(&self) -> Result<()> {
            Ok(())
        }
    }

    #[service]
    trait Contract: Send + Sync + 'static {
        #[handler]
        async fn hello(&self) -> Result<()>;
    }

    impl Contract for Local {
        async fn hello(&self) -> Result<()> {
            Ok(())
        }
    }

    #[service]
    struct Wired {
        #[wire(default)]
        count: u8,
    }

    #[subscriber(topic = "made")]
    async fn on_made(made: u8) -> Result<()> {
        let _ = made;
        Ok(())
    }

    assert_eq!(<Local as micro::Serve>::ENDPOINTS.len(), 1);
    assert_eq!(<ContractServer<Local> as micro::Serve>::ENDPOINTS.len(), 1);
    assert_eq!(<on_made as micro::Subscriber>::SPEC.name, "OnMade");
    let _ = (|client: &LocalClient| client.hello(), Wired { count: 1 }.count);
}
