//! Whom a client keeps: named addresses, services by name, nodes it cannot read.

use std::sync::Arc;
use std::time::Duration;

use crate::client::tests::lab::{Lab, address, at_once, call, settle};
use crate::client::tests::world::SERVICE;
use crate::client::{Client, Stub};
use crate::core::clock;
use crate::core::descriptor::CallKind;
use crate::core::error::{Error, Result};
use crate::core::future::BoxFuture;
use crate::registry::{self, Capabilities, Node, Record, Registry, Watch};

async fn lab() -> Lab {
    let mut lab = Lab::default();
    for name in ["a", "b"] {
        lab.node(name, at_once(Ok(()))).await;
    }
    lab
}

#[tokio::test(start_paused = true)]
async fn a_named_address_keeps_its_connection_between_calls() {
    let lab = lab().await;
    let client = lab.builder().build();
    for _ in 0..10 {
        call(&client).to("memory:a").await.unwrap();
        settle().await;
    }
    assert_eq!((lab.calls("a"), lab.dials("a")), (10, 1));
    let idle = crate::core::limits::Limits::DEFAULT.connection.client_idle_timeout;
    let peer = Arc::downgrade(&client.inner.pool.peer(&address("a")));
    clock::sleep(idle).await;
    call(&client).to("memory:b").await.unwrap();
    assert!(peer.upgrade().is_none(), "an address that nobody names any more is let go");
}

#[tokio::test(start_paused = true)]
async fn a_client_of_one_address_keeps_its_connection_and_takes_the_short_way() {
    let lab = lab().await;
    let client = lab.builder().address(address("a")).build();
    for _ in 0..10 {
        call(&client).await.unwrap();
        settle().await;
    }
    assert_eq!((lab.calls("a"), lab.dials("a")), (10, 1));
    let endpoint = Arc::new(client.endpoint(SERVICE.name, "U", CallKind::Unary));
    let body = Ok(bytes::Bytes::new());
    let plan =
        crate::client::plan::Plan { endpoint, body, source: None, options: None, context: None };
    assert!(plan.is_plain());
}

#[tokio::test(start_paused = true)]
async fn services_by_name_are_followed_up_to_a_limit_and_while_they_are_called() {
    let client = lab().await.builder().build();
    let (kept, idle) = (1024, Duration::from_secs(240));
    let first = Arc::downgrade(&client.dynamic("first", "U", CallKind::Unary).target);
    clock::sleep(Duration::from_millis(1)).await;
    for n in 0..kept {
        assert!(first.upgrade().is_some(), "{n}");
        drop(client.dynamic(&n.to_string(), "U", CallKind::Unary));
    }
    assert!(first.upgrade().is_none(), "the one called longest ago makes room");
    let last = Arc::downgrade(&client.dynamic("last", "U", CallKind::Unary).target);
    clock::sleep(idle).await;
    drop(client.dynamic("another", "U", CallKind::Unary));
    assert!(last.upgrade().is_none(), "nobody called it for long");
}

#[tokio::test(start_paused = true)]
async fn a_service_without_a_generated_client_is_followed_for_a_while() {
    let client = lab().await.builder().build();
    let target = {
        let _stub = Stub::new(client.clone(), &SERVICE);
        Arc::downgrade(&client.endpoint(SERVICE.name, "U", CallKind::Unary).target)
    };
    assert!(target.upgrade().is_some(), "what is known of its nodes is not lost at once");
    clock::sleep(Duration::from_secs(240)).await;
    drop(client.dynamic("another", "U", CallKind::Unary));
    assert!(target.upgrade().is_none());
    let stub = Stub::new(client.clone(), &SERVICE);
    let target = Arc::downgrade(&client.endpoint(SERVICE.name, "U", CallKind::Unary).target);
    clock::sleep(Duration::from_secs(240)).await;
    drop(client.dynamic("another", "U", CallKind::Unary));
    assert!(target.upgrade().is_some(), "a client keeps its service");
    drop(stub);
    assert!(target.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn calls_by_name_reach_the_node_and_use_one_name() {
    let lab = lab().await;
    let client = lab.builder().build();
    let one = client.dynamic(SERVICE.name, "U", CallKind::Unary);
    let two = client.dynamic(SERVICE.name, "U", CallKind::Unary);
    assert!(Arc::ptr_eq(&one.route, &two.route) && Arc::ptr_eq(&one.target, &two.target));
}

#[tokio::test(start_paused = true)]
async fn a_generated_client_for_each_call_uses_up_no_names() {
    let client = lab().await.builder().build();
    let route = || client.endpoint(SERVICE.name, "U", CallKind::Unary).route;
    let first = route();
    drop(Stub::new(client.clone(), &SERVICE));
    assert!(Arc::ptr_eq(&first, &route()));
}

/// A registry that does not look at what it holds.
#[derive(Debug)]
struct Careless(Vec<Record>);

impl Registry for Careless {
    fn name(&self) -> &'static str {
        "careless"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { watch: false, ..registry::Memory::new().capabilities() }
    }

    fn register<'a>(&'a self, _: &'a Record, _: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn deregister<'a>(&'a self, _: &'a Record) -> BoxFuture<'a, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn lookup<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Vec<Record>>>> {
        Box::pin(std::future::ready(Ok(Some(self.0.clone()))))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(std::future::ready(Ok(vec![SERVICE.name.to_owned()])))
    }

    fn watch<'a>(&'a self, _: Option<&'a str>) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(std::future::ready(Err(Error::unimplemented("careless", "no watch"))))
    }
}

fn with_addresses(lab: &Lab, addresses: &[&str]) -> Client {
    let node = |address: &&str| Node {
        id: (*address).to_owned(),
        address: (*address).to_owned(),
        ..Node::default()
    };
    let nodes = addresses.iter().map(node).collect();
    let record = Record { name: SERVICE.name.to_owned(), nodes, ..Record::default() };
    lab.builder().registry(Arc::new(Careless(vec![record]))).build()
}

#[tokio::test(start_paused = true)]
async fn a_node_with_an_unreadable_address_gets_no_calls_and_fails_none() {
    let lab = lab().await;
    let client = with_addresses(&lab, &["host", "memory:a", "shop.internal"]);
    for _ in 0..200 {
        call(&client).await.unwrap();
    }
    assert_eq!(lab.calls("a"), 200);
    let client = with_addresses(&lab, &["host"]);
    let error = call(&client).await.unwrap_err();
    assert!(error.detail().contains("cannot be read"), "{error}");
}
