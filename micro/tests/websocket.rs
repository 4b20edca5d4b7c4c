//! Calls between services over WebSocket.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use micro::client::Client;
use micro::config::Memory as Settings;
use micro::core::error::Retry;
use micro::core::limits::Limits;
use micro::core::net::Address;
use micro::core::shutdown::{Shutdown, TaskTracker};
use micro::prelude::*;
use micro::registry::{self, Registry};
use micro::transport::{self, Schemes, Scope, Transport};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug, Default)]
struct Numbers {
    left: Arc<AtomicUsize>,
    leaves: Arc<tokio::sync::Notify>,
}

#[service(name = "numbers")]
impl Numbers {
    #[handler]
    async fn double(&self, number: u64) -> Result<u64> {
        Ok(number * 2)
    }

    #[handler]
    async fn count(&self, to: u64) -> Result<Streaming<u64>> {
        Ok(Streaming::from_iter(1..=to))
    }

    #[handler]
    async fn sum(&self, mut numbers: Streaming<u64>) -> Result<u64> {
        let mut sum = 0;
        while let Some(number) = numbers.next().await {
            sum += number?;
        }
        Ok(sum)
    }

    #[handler]
    async fn square(&self, numbers: Streaming<u64>) -> Result<Streaming<u64>> {
        Ok(numbers.map(|number| number * number))
    }

    #[handler]
    async fn say(&self, text: String) -> Result<String> {
        Ok(text)
    }

    #[handler]
    async fn about(&self, ctx: &Context) -> Result<String> {
        let remote = ctx.remote().unwrap_or_default().to_owned();
        Ok(format!("{:?} {remote}", ctx.metadata().get("tenant")))
    }

    #[handler]
    async fn fail(&self) -> Result<()> {
        Err(Error::conflict("numbers", "on purpose"))
    }

    #[handler]
    async fn hang(&self) -> Result<()> {
        struct Leaving<'a>(&'a Numbers);
        impl Drop for Leaving<'_> {
            fn drop(&mut self) {
                self.0.left.fetch_add(1, Ordering::SeqCst);
                self.0.leaves.notify_one();
            }
        }
        let _leaving = Leaving(self);
        std::future::pending().await
    }
}

/// A service that calls and is called by WebSocket.
fn service(registry: &Arc<dyn Registry>) -> Service {
    let settings = Settings::new("test.json", json!({"micro": {"transport": "ws"}}));
    let service = Service::new("numbers").no_env().config(settings);
    service.shared_registry(Arc::clone(registry))
}

fn memory() -> Arc<dyn Registry> {
    Arc::new(registry::Memory::new())
}

#[tokio::test]
async fn every_kind_of_call_travels_as_over_tcp() {
    let registry = memory();
    let running = service(&registry).mount(Numbers::default()).start().await.unwrap();
    let record = registry.lookup("numbers").await.unwrap().unwrap().remove(0);
    assert_eq!(record.nodes[0].metadata.get("transport").map(String::as_str), Some("ws"));
    let numbers: NumbersClient = running.client();
    assert_eq!(numbers.double(21).await.unwrap(), 42);
    let counted = numbers.count(1000).await.unwrap().collect(1000).await.unwrap();
    assert_eq!(counted, (1..=1000).collect::<Vec<_>>());
    assert_eq!(numbers.sum(Streaming::from_iter(1..=10)).await.unwrap(), 55);
    let (sender, requests) = Streaming::channel(1);
    let mut squares = numbers.square(requests).await.unwrap();
    for number in 1..=3 {
        sender.send(number).await.unwrap();
        assert_eq!(squares.next().await.unwrap().unwrap(), number * number);
    }
    drop(sender);
    assert!(squares.next().await.is_none());
    let about = numbers.about().metadata("tenant", "acme").await.unwrap();
    assert!(about.starts_with("Some(\"acme\") 127.0.0.1:"), "{about}");
    let error = numbers.fail().await.unwrap_err();
    assert_eq!((error.code(), error.detail()), (409, "on purpose"));
    let long = "x".repeat(4 * 1024 * 1024 - 100);
    assert_eq!(numbers.say(long.clone()).await.unwrap().len(), long.len());
    let calls = (0..500).map(|n| numbers.double(n));
    for (n, done) in futures_util::future::join_all(calls).await.into_iter().enumerate() {
        assert_eq!(done.unwrap(), 2 * u64::try_from(n).unwrap());
    }
    assert!(running.stop().await.is_clean());
}

#[tokio::test]
async fn a_dropped_call_is_a_dropped_handler() {
    let registry = memory();
    let service_value = Numbers::default();
    let (left, leaves) = (Arc::clone(&service_value.left), Arc::clone(&service_value.leaves));
    let running = service(&registry).mount(service_value).start().await.unwrap();
    let numbers: NumbersClient = running.client();
    let timed_out = numbers.hang().timeout(Duration::from_millis(200)).await.unwrap_err();
    assert_eq!(timed_out.code(), 408);
    leaves.notified().await;
    assert_eq!(left.load(Ordering::SeqCst), 1);
    assert!(running.stop().await.is_clean());
}

#[tokio::test]
async fn an_address_with_the_scheme_is_dialed_by_websocket() {
    let native = Service::new("numbers").no_env().shared_registry(memory());
    let running = native.mount(Numbers::default()).start().await.unwrap();
    let transport = Schemes::over(Arc::new(transport::Memory::new()))
        .with("ws", Arc::new(transport::WebSocket::new()));
    let client = Client::builder().transport(Arc::new(transport)).build();
    let numbers = NumbersClient::from(client);
    let address = format!("ws://{}", running.address());
    assert_eq!(numbers.double(4).to(&address).await.unwrap(), 8);
    assert!(running.stop().await.is_clean());
}

#[tokio::test]
async fn a_unix_socket_carries_it_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", dir.path().join("socket").display());
    let settings = json!({"micro": {"transport": "ws", "server_address": address}});
    let settings = Settings::new("test.json", settings);
    let service = Service::new("numbers").no_env().config(settings).shared_registry(memory());
    let running = service.mount(Numbers::default()).start().await.unwrap();
    let numbers: NumbersClient = running.client();
    assert_eq!(numbers.double(4).await.unwrap(), 8);
    assert!(running.stop().await.is_clean());
}

async fn dial(address: &str, limits: Limits) -> (Error, usize) {
    let address: Address = address.parse().unwrap();
    let tasks = TaskTracker::new();
    let scope = Scope::new(Arc::new(limits), tasks.clone(), Shutdown::new());
    let error = transport::WebSocket::new().dial(&address, &scope).await.map(drop).unwrap_err();
    (error, tasks.len())
}

#[tokio::test]
async fn a_dial_that_fails_says_why_and_leaves_nothing() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = other.local_addr().unwrap().to_string();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let answering = async {
        let (mut stream, _): (TcpStream, _) = other.accept().await.unwrap();
        let mut buffer = [0; 1024];
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    };
    let mut limits = Limits::default();
    limits.connection.dial_timeout = Duration::from_millis(300);
    let ((refused, left), ()) = tokio::join!(dial(&elsewhere, limits.clone()), answering);
    assert!(refused.detail().contains("answered 404"), "{refused}");
    assert_eq!((refused.retry(), left), (Retry::Safe, 0));
    for (address, part) in [
        (gone.to_string(), "refused"),
        (silent.local_addr().unwrap().to_string(), "no answer within 300ms"),
    ] {
        let (error, left) = dial(&address, limits.clone()).await;
        assert!(error.detail().contains(part), "{error}");
        assert_eq!((error.retry(), left), (Retry::Safe, 0));
    }
}
