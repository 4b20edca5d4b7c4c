//! What a process tells the registry of the functions that listen for it.

use std::sync::{Arc, Mutex};

use micro::prelude::*;
use micro::registry::{Memory, Registry};
use tokio::sync::Notify;

const CREATED: Topic<u64> = Topic::new("orders.created");

/// The orders that were heard of, by the one test that creates some.
static HEARD: Mutex<Vec<u64>> = Mutex::new(Vec::new());
static HEARS: Notify = Notify::const_new();

/// Writes down what happens.
#[subscriber(topic = "orders.created", queue = "audit")]
async fn audit(order: u64) -> Result<()> {
    HEARD.lock().unwrap().push(order);
    HEARS.notify_one();
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

#[tokio::test(start_paused = true)]
async fn a_linked_subscriber_is_mounted_once() {
    let hermetic = || {
        let service = Service::new("shop").no_env().registry(Memory::new());
        service.transport(micro::transport::Memory::default()).mount(Greeter)
    };
    for (service, subscribed) in [
        (hermetic(), 0),
        (hermetic().mount_linked(), 1),
        (hermetic().mount_linked().subscribe::<audit>(), 1),
        (hermetic().subscribe::<audit>().mount_linked(), 1),
    ] {
        let running = service.start().await.unwrap();
        let topics = running.subscribers().iter().map(|free| free.topic);
        assert_eq!(topics.collect::<Vec<_>>(), vec![CREATED.name(); subscribed]);
        let served = running.services().iter().map(|served| served.name);
        assert_eq!(served.collect::<Vec<_>>(), ["greeter"]);
        running.broker().publish(&CREATED, &7).await.unwrap();
        if subscribed > 0 {
            HEARS.notified().await;
        }
        running.stop().await;
        assert_eq!(std::mem::take(&mut *HEARD.lock().unwrap()), vec![7; subscribed]);
    }
}
