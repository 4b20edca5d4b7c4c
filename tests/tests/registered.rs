//! What a process tells the registry of the functions that listen for it.

use std::sync::Arc;

use micro::prelude::*;
use micro::registry::{Memory, Registry};

/// Writes down what happens.
#[subscriber(topic = "orders.created", queue = "audit")]
async fn audit(order: u64) -> Result<()> {
    let _ = order;
    Ok(())
}

struct Greeter;

#[service(name = "greeter")]
impl Greeter {
    /// Says hello.
    #[handler]
    async fn hello(&self) -> Result<String> {
        Ok("hello".to_owned())
    }
}

#[tokio::test(start_paused = true)]
async fn a_free_subscriber_is_an_endpoint_of_its_process() {
    let registry = Arc::new(Memory::new());
    let service = Service::new("shop").no_env().shared_registry(Arc::<Memory>::clone(&registry));
    let service = service.transport(micro::transport::Memory::default());
    let running = service.mount(Greeter).subscribe::<audit>().start().await.unwrap();

    let records = registry.lookup("shop").await.unwrap().unwrap();
    let [shop] = records.as_slice() else { panic!("{records:?}") };
    let [endpoint] = shop.endpoints.as_slice() else { panic!("{shop:?}") };
    assert_eq!((endpoint.name.as_str(), shop.nodes.len()), ("Audit", 1));
    let fact = |key: &str| endpoint.metadata.get(key).map(String::as_str);
    assert_eq!((fact("topic"), fact("subscriber")), (Some("orders.created"), Some("true")));
    assert_eq!(fact("description"), Some("Writes down what happens."));

    let greeter = registry.lookup("greeter").await.unwrap().unwrap();
    assert_eq!(greeter[0].endpoints.len(), 1);
    running.stop().await;
    assert_eq!(registry.list().await.unwrap(), [""; 0]);
}
