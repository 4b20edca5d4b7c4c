//! A service whose messages are Protocol Buffers as well as JSON, for tests with foreign peers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use micro::prelude::*;
use micro::registry::Memory;
use micro::{Running, Service};
use tokio::sync::Notify;

/// A text; also JSON.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub struct Text {
    /// The text.
    #[prost(string, tag = "1")]
    pub text: String,
}

/// A number; also JSON.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub struct Number {
    /// The number.
    #[prost(uint32, tag = "1")]
    pub number: u32,
}

/// Makes a text.
pub fn text(text: &str) -> Text {
    Text { text: text.to_owned() }
}

/// Makes a number.
pub fn number(number: u32) -> Number {
    Number { number }
}

/// What the handlers of a shop did.
#[derive(Debug, Default)]
pub struct Seen {
    /// How many have begun to wait.
    pub started: AtomicUsize,
    /// How many are over, however they ended.
    pub dropped: AtomicUsize,
    /// How many have waited to the end.
    pub finished: AtomicUsize,
    /// Lets those who wait go on.
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

    /// Makes numbers for as long as they are asked for, and counts them as begun.
    pub fn endless(self: &Arc<Self>) -> impl Iterator<Item = Number> + Send + 'static {
        let held = Held(Arc::clone(self));
        std::iter::repeat_with(move || {
            held.0.started.fetch_add(1, Ordering::SeqCst);
            number(7)
        })
    }

    /// Waits until no more have begun for a while, and returns how many have.
    pub async fn until_still(&self) -> usize {
        let still = async {
            let mut before = 0;
            // Progress: windows are finite, so that the count stands still at last.
            loop {
                let made = self.started.load(Ordering::SeqCst);
                if made == before {
                    return made;
                }
                before = made;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), still).await.expect("it stands still")
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
    /// Which field is wrong.
    pub field: String,
    /// How long it may be.
    pub most: u32,
}

/// The service.
#[derive(Clone, Debug, Default)]
pub struct Shop {
    /// What its handlers did.
    pub seen: Arc<Seen>,
}

#[service(name = "shop")]
impl Shop {
    /// Says what it is told.
    #[handler]
    pub async fn echo(&self, req: Text) -> Result<Text> {
        Ok(req)
    }

    /// Says what came along: the tenant, the bytes of `key-bin`, and whether there is a trace.
    #[handler]
    pub async fn about(&self, ctx: &Context, _req: Text) -> Result<Text> {
        let get = |name| ctx.metadata().get(name).unwrap_or_default().to_owned();
        let left = ctx.remaining().is_some_and(|left| left < Duration::from_secs(5));
        let trace = ctx.trace().map(|trace| format!("{:032x}", trace.trace_id()));
        let trace = trace.unwrap_or_default();
        Ok(text(&format!("{} {} {left} {trace}", get("tenant"), get("key-bin"))))
    }

    /// Fails with the text, and a payload.
    #[handler]
    pub async fn fail(&self, req: Text) -> Result<Text> {
        let why = Why { field: "text".to_owned(), most: 7 };
        Err(Error::bad_request("shop.check", &req.text).with_details(&why))
    }

    /// Waits to be released.
    #[handler]
    pub async fn hang(&self, req: Text) -> Result<Text> {
        self.seen.wait().await;
        Ok(req)
    }

    /// Waits to be released, whether the caller stays or not.
    #[handler(detached)]
    pub async fn settle(&self, req: Text) -> Result<Text> {
        self.seen.wait().await;
        Ok(req)
    }

    /// Counts up to a number.
    #[handler]
    pub async fn count(&self, req: Number) -> Result<Streaming<Number>> {
        Ok(Streaming::from_iter((0..req.number).map(number)))
    }

    /// Counts for as long as somebody reads.
    #[handler]
    pub async fn endless(&self, _req: Text) -> Result<Streaming<Number>> {
        Ok(Streaming::from_iter(self.seen.endless()))
    }

    /// Sends one number, then fails.
    #[handler]
    pub async fn break_off(&self, req: Number) -> Result<Streaming<Number>> {
        let (tx, rx) = Streaming::channel(1);
        Context::current()
            .spawn(async move {
                // Nobody has to be there any more.
                let _sent = tx.send(req).await;
                let _failed = tx.fail(Error::aborted("shop.count", "broken off")).await;
            })
            .detach();
        Ok(rx)
    }

    /// Adds numbers.
    #[handler]
    pub async fn sum(&self, mut req: Streaming<Number>) -> Result<Number> {
        let mut sum = 0;
        while let Some(next) = req.next().await {
            sum += next?.number;
        }
        Ok(number(sum))
    }

    /// Doubles numbers as they come.
    #[handler]
    pub async fn double(&self, req: Streaming<Number>) -> Result<Streaming<Number>> {
        Ok(req.map(|n| number(2 * n.number)))
    }
}

/// Starts a process that serves a shop.
pub async fn start(shop: Shop) -> Running {
    let service = Service::new("shop").mount(shop).registry(Memory::new()).no_env();
    service.start().await.unwrap()
}
