//! Typed clients that speak go-micro's transport, with services that are found by it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use micro::client::Client;
use micro::codec::Format;
use micro::prelude::*;
use micro::registry::{self, Node, Record, Registry};
use micro::service::Running;

#[derive(Debug, Default)]
struct Greeter;

#[service(name = "greeter")]
impl Greeter {
    #[handler]
    async fn hello(&self, ctx: &Context, name: String) -> Result<String> {
        let tenant = ctx.metadata().get("tenant").unwrap_or_default();
        let user = ctx.persistent().get("user").unwrap_or_default();
        Ok(format!("Hello {name} of {tenant} for {user}"))
    }

    #[handler]
    async fn refuse(&self, name: String) -> Result<String> {
        Err(Error::conflict("greeter.refuse", name).with_details(&7))
    }

    #[handler]
    async fn left(&self, ctx: &Context) -> Result<u64> {
        Ok(ctx.remaining().unwrap_or_default().as_secs())
    }

    #[handler]
    async fn count(&self, below: u32) -> Result<Streaming<u32>> {
        Ok(Streaming::from_iter(0..below))
    }

    #[handler]
    async fn sum(&self, mut numbers: Streaming<u32>) -> Result<u32> {
        let mut sum = 0;
        while let Some(number) = numbers.next().await {
            sum += number?;
        }
        Ok(sum)
    }

    #[handler]
    async fn double(&self, numbers: Streaming<u32>) -> Result<Streaming<u32>> {
        Ok(numbers.map(|number| number * 2))
    }
}

type Shared = Arc<dyn Registry>;

fn service(registry: &Shared, settings: &[(&str, &str)]) -> Service {
    let settings = settings.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    let settings: Vec<(std::ffi::OsString, std::ffi::OsString)> = settings.collect();
    Service::new("test").env(settings).shared_registry(Arc::clone(registry))
}

async fn serving(registry: &Shared) -> Running {
    service(registry, &[]).mount(Greeter).start().await.unwrap()
}

/// Makes one call of each kind, and some that tell more.
async fn call_all(greeter: &GreeterClient) {
    let context = Context::new().persist("user", "ada").unwrap();
    let hello = greeter.hello("John".to_owned()).metadata("tenant", "acme").context(&context);
    assert_eq!(hello.await.unwrap(), "Hello John of acme for ada");
    let left = greeter.left().timeout(Duration::from_secs(100)).await.unwrap();
    assert!((90..=100).contains(&left), "{left}");
    let error = greeter.refuse("no\nway".to_owned()).await.unwrap_err();
    assert_eq!((error.id(), error.code(), error.detail()), ("greeter.refuse", 409, "no\nway"));
    assert_eq!(error.details::<u32>(), Some(7));
    let numbers = greeter.count(5).await.unwrap().collect(10).await.unwrap();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    let numbers = || Streaming::from_iter([1, 2, 3]);
    assert_eq!(greeter.sum(numbers()).await.unwrap(), 6);
    let doubled = greeter.double(numbers()).await.unwrap().collect(10).await.unwrap();
    assert_eq!(doubled, [2, 4, 6]);
}

#[tokio::test]
async fn a_process_speaks_it_by_its_settings_in_every_content_type() {
    let registry: Shared = Arc::new(registry::Memory::new());
    let server = serving(&registry).await;
    for content_type in [
        "application/msgpack",
        "application/json",
        "application/json-rpc",
        "application/grpc+json",
        "application/msgpack-rpc",
    ] {
        let settings = [("MICRO_TRANSPORT", "mucp"), ("MICRO_CLIENT_CONTENT_TYPE", content_type)];
        let caller = service(&registry, &settings).start().await.unwrap();
        call_all(&caller.client()).await;
        assert!(caller.stop().await.is_clean(), "{content_type}");
    }
    assert!(server.stop().await.is_clean());
}

#[tokio::test]
async fn a_node_of_go_micro_is_called_by_it_whatever_the_transport() {
    let elsewhere: Shared = Arc::new(registry::Memory::new());
    let server = serving(&elsewhere).await;
    let facts = [
        ("broker", "http"),
        ("protocol", "mucp"),
        ("registry", "mdns"),
        ("server", "mucp"),
        ("transport", "http"),
    ];
    let metadata: BTreeMap<_, _> =
        facts.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let address = server.address().to_string();
    let node = Node { id: "greeter-1".to_owned(), address: address.clone(), metadata };
    let record = Record { name: "greeter".to_owned(), nodes: vec![node], ..Record::default() };
    let registry: Shared = Arc::new(registry::Memory::new());
    registry.register(&record, Duration::from_secs(60)).await.unwrap();
    let settings = [("MICRO_CLIENT_CONTENT_TYPE", "application/json")];
    let caller = service(&registry, &settings).start().await.unwrap();
    call_all(&caller.client()).await;
    let client: Client = caller.client();
    let packed: GreeterClient = client.in_format(Format::MsgPack).into();
    call_all(&packed).await;
    let named = packed.count(2).to(&format!("mucp://{address}")).await.unwrap();
    assert_eq!(named.collect(10).await.unwrap(), [0, 1]);
    assert!(caller.stop().await.is_clean());
    assert!(server.stop().await.is_clean());
}

#[tokio::test]
async fn a_stream_that_is_dropped_is_over_at_the_server_and_a_stop_loses_no_call() {
    let registry: Shared = Arc::new(registry::Memory::new());
    let server = serving(&registry).await;
    let caller = service(&registry, &[("MICRO_TRANSPORT", "mucp")]).start().await.unwrap();
    let greeter: GreeterClient = caller.client();
    let mut endless = greeter.count(u32::MAX).await.unwrap();
    assert_eq!(endless.next().await.unwrap().unwrap(), 0);
    drop(endless);
    let calls: Vec<_> = (0..200).map(|n| greeter.hello(n.to_string())).collect();
    let mut done = 0;
    for call in calls {
        call.await.unwrap();
        done += 1;
    }
    assert_eq!(done, 200);
    assert!(server.stop().await.is_clean());
    assert!(greeter.left().await.is_err());
    assert!(caller.stop().await.is_clean());
}
