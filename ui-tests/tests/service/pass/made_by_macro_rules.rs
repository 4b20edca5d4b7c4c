//! Services may come out of other macros.

#![deny(warnings)]

use micro::prelude::*;

macro_rules! keeper {
    ($name:ident, $message:ty, $topic:expr) => {
        struct $name;

        #[service]
        impl $name {
            #[handler]
            async fn get(&self, id: $message) -> Result<$message> {
                Ok(id)
            }

            #[handler]
            async fn watch(&self, ids: Streaming<$message>) -> Result<Streaming<$message>> {
                Ok(ids)
            }

            #[subscriber(topic = "made")]
            async fn on_made(&self, id: $message) -> Result<()> {
                let _ = id;
                Ok(())
            }
        }
    };
}

keeper!(Numbers, u64, "numbers");
keeper!(Words, Vec<String>, "words");

macro_rules! contract {
    ($name:ident { $($method:ident),* }) => {
        #[service]
        trait $name: Send + Sync + 'static {
            $(#[handler] async fn $method(&self) -> Result<()>;)*
        }
    };
}

contract!(Orders { get, put });

fn main() {
    let _ = |client: &OrdersClient| (client.get(), client.put());
    let _ = (Numbers, Words);
    assert_eq!(<Words as micro::Serve>::DESCRIPTOR.endpoints[0].name, "Words.Get");
}
