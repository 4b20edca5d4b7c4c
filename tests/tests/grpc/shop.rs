//! The messages and the service that both ends speak of, and how they are reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use micro::prelude::*;
use micro::registry::Memory;
use micro::{Running, Service};
use tokio::sync::Notify;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};

/// A text; also JSON.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub struct Text {
    #[prost(string, tag = "1")]
    pub text: String,
}

/// A number; also JSON.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub struct Number {
    #[prost(uint32, tag = "1")]
    pub number: u32,
}

pub fn text(text: &str) -> Text {
    Text { text: text.to_owned() }
}

pub fn number(number: u32) -> Number {
    Number { number }
}

/// What the handlers of a shop did.
#[derive(Debug, Default)]
pub struct Seen {
    pub started: AtomicUsize,
    pub dropped: AtomicUsize,
    pub finished: AtomicUsize,
    pub release: Notify,
}

struct Held(Arc<Seen>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

impl Seen {
    /// Waits until as many handlers were dropped or have ended.
    pub async fn until_dropped(&self, count: usize) {
        let all = async {
            while self.dropped.load(Ordering::SeqCst) < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), all).await.expect("handlers are dropped");
    }

    /// Waits until as many handlers have begun to wait.
    pub async fn until_started(&self, count: usize) {
        while self.started.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
    }

    /// Waits to be released, and counts how that ends.
    pub async fn wait(self: &Arc<Self>) {
        let _held = Held(Arc::clone(self));
        let released = self.release.notified();
        self.started.fetch_add(1, Ordering::SeqCst);
        released.await;
        self.finished.fetch_add(1, Ordering::SeqCst);
    }
}

/// A payload of an error.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Why {
    pub field: String,
    pub most: u32,
}

#[derive(Clone, Debug, Default)]
pub struct Shop {
    pub seen: Arc<Seen>,
}

#[service(name = "shop")]
impl Shop {
    #[handler]
    async fn echo(&self, req: Text) -> Result<Text> {
        Ok(req)
    }

    /// Says what came along: the tenant, the bytes of `key-bin`, and whether there is a trace.
    #[handler]
    async fn about(&self, ctx: &Context, _req: Text) -> Result<Text> {
        let get = |name| ctx.metadata().get(name).unwrap_or_default().to_owned();
        let left = ctx.remaining().is_some_and(|left| left < Duration::from_secs(5));
        let trace = ctx.trace().map(|trace| format!("{:032x}", trace.trace_id()));
        let trace = trace.unwrap_or_default();
        Ok(text(&format!("{} {} {left} {trace}", get("tenant"), get("key-bin"))))
    }

    #[handler]
    async fn fail(&self, req: Text) -> Result<Text> {
        let why = Why { field: "text".to_owned(), most: 7 };
        Err(Error::bad_request("shop.check", &req.text).with_details(&why))
    }

    #[handler]
    async fn hang(&self, req: Text) -> Result<Text> {
        self.seen.wait().await;
        Ok(req)
    }

    #[handler(detached)]
    async fn settle(&self, req: Text) -> Result<Text> {
        self.seen.wait().await;
        Ok(req)
    }

    #[handler]
    async fn count(&self, req: Number) -> Result<Streaming<Number>> {
        Ok(Streaming::from_iter((0..req.number).map(number)))
    }

    /// Counts for as long as somebody reads.
    #[handler]
    async fn endless(&self, _req: Text) -> Result<Streaming<Number>> {
        let held = Held(Arc::clone(&self.seen));
        let numbers = std::iter::repeat_with(move || {
            held.0.started.fetch_add(1, Ordering::SeqCst);
            number(7)
        });
        Ok(Streaming::from_iter(numbers))
    }

    /// Sends one number, then fails.
    #[handler]
    async fn break_off(&self, req: Number) -> Result<Streaming<Number>> {
        let (tx, rx) = Streaming::channel(1);
        Context::current()
            .spawn(async move {
                tx.send(req).await?;
                tx.fail(Error::aborted("shop.count", "broken off")).await
            })
            .detach();
        Ok(rx)
    }

    #[handler]
    async fn sum(&self, mut req: Streaming<Number>) -> Result<Number> {
        let mut sum = 0;
        while let Some(next) = req.next().await {
            sum += next?.number;
        }
        Ok(number(sum))
    }

    #[handler]
    async fn double(&self, req: Streaming<Number>) -> Result<Streaming<Number>> {
        Ok(req.map(|n| number(2 * n.number)))
    }
}

/// Starts a process that serves a shop.
pub async fn start(shop: Shop) -> Running {
    let service = Service::new("shop").mount(shop).registry(Memory::new()).no_env();
    service.start().await.unwrap()
}

/// Connects tonic's client.
pub async fn channel(running: &Running) -> Channel {
    let url = format!("http://{}", running.address());
    Endpoint::from_shared(url).unwrap().connect().await.unwrap()
}

/// Makes tonic's client of a channel.
pub async fn client(running: &Running) -> Grpc<Channel> {
    let mut client = Grpc::new(channel(running).await);
    client.ready().await.unwrap();
    client
}
