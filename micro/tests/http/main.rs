//! Typed clients over HTTP/1.1 and HTTP/2: against services of this crate, and against peers that
//! answer badly.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod calls;
mod peers;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use micro::Client;
use micro::codec::Format;
use micro::core::error::Retry;
use micro::prelude::*;
use micro::registry::Memory;
use micro::service::Running;
use micro::transport::{Http, Native, Schemes};

/// What the handlers did.
#[derive(Debug, Default)]
pub struct Seen {
    started: AtomicUsize,
    dropped: AtomicUsize,
}

#[derive(Clone, Debug, Default)]
pub struct Lab {
    seen: Arc<Seen>,
}

/// Counts the end of a handler, however it comes.
struct Ending(Arc<Seen>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

#[service(name = "lab")]
impl Lab {
    #[handler]
    async fn echo(&self, text: String) -> Result<String> {
        self.seen.started.fetch_add(1, Ordering::SeqCst);
        Ok(text)
    }

    #[handler]
    async fn fail(&self) -> Result<String> {
        Err(Error::conflict("", "on purpose").with_details(&7))
    }

    #[handler]
    async fn hang(&self) -> Result<String> {
        let _ending = Ending(Arc::clone(&self.seen));
        self.seen.started.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }

    #[handler]
    async fn about(&self, ctx: &Context) -> Result<String> {
        let all = |map: &micro::core::metadata::Metadata| {
            map.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(";")
        };
        let (metadata, persistent) = (all(ctx.metadata()), all(ctx.persistent()));
        let trace = ctx.trace().map(|trace| format!("{:032x}", trace.trace_id()));
        let late = ctx.deadline().is_some();
        Ok(format!("{metadata} {persistent} {} {late}", trace.unwrap_or_default()))
    }

    /// Fails after the last if there are eight.
    #[handler]
    async fn count(&self, below: u32) -> Result<Streaming<u32>> {
        let _ending = Ending(Arc::clone(&self.seen));
        let (sender, stream) = Streaming::channel(4);
        Context::current().spawn(async move {
            for n in 0..below {
                if sender.send(n).await.is_err() {
                    return;
                }
            }
            if below == 8 {
                let _sent = sender.fail(Error::aborted("lab", "on purpose")).await;
            }
        });
        Ok(stream)
    }

    /// Streams what looks like failures and is none.
    #[handler]
    async fn lookalikes(&self) -> Result<Streaming<Lookalike>> {
        let error = Inner { id: "a".to_owned(), code: 1 };
        let other = Inner { id: "b".to_owned(), code: 2 };
        Ok(Streaming::from_iter([Lookalike { error }, Lookalike { error: other }]))
    }

    /// Streams until nobody reads.
    #[handler]
    async fn flood(&self) -> Result<Streaming<String>> {
        let ending = Ending(Arc::clone(&self.seen));
        Ok(Streaming::from_iter(0_u64..).map(move |n| {
            let _held = &ending;
            n.to_string()
        }))
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
        Ok(numbers.map(|n| n * 2))
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Lookalike {
    error: Inner,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Inner {
    id: String,
    code: u32,
}

/// A client that knows both ways.
fn client() -> Client {
    let transport = Schemes::over(Arc::new(Native))
        .with("http", Arc::new(Http::new()))
        .with("h2c", Arc::new(Http::h2c()));
    Client::builder().registry(Arc::new(Memory::new())).transport(Arc::new(transport)).build()
}

/// The two ways to a node, and the formats in which any message travels.
const WAYS: [(&str, Format); 4] = [
    ("http", Format::MsgPack),
    ("http", Format::Json),
    ("h2c", Format::MsgPack),
    ("h2c", Format::Json),
];

struct Served {
    running: Running,
    seen: Arc<Seen>,
    client: Client,
}

impl Served {
    async fn start() -> Self {
        Self::with(|service| service).await
    }

    async fn with(change: impl FnOnce(Service) -> Service) -> Self {
        let lab = Lab::default();
        let seen = Arc::clone(&lab.seen);
        let service = Service::new("lab").no_env().registry(Memory::new()).mount(lab);
        let running = change(service).start().await.unwrap();
        Self { running, seen, client: client() }
    }

    /// A typed client of the node by one of the ways, and its address there.
    fn by(&self, scheme: &str, format: &Format) -> (LabClient, String) {
        let address = self.running.address().to_string();
        let address = match address.strip_prefix("unix:") {
            Some(path) => format!("{scheme}+unix:{path}"),
            None => format!("{scheme}://{address}"),
        };
        (self.client.in_format(format.clone()).into(), address)
    }

    async fn until_dropped(&self, count: usize) {
        until(|| self.seen.dropped.load(Ordering::SeqCst) >= count).await;
    }

    async fn until_started(&self, count: usize) {
        until(|| self.seen.started.load(Ordering::SeqCst) >= count).await;
    }
}

/// Waits for what is about to happen; no measure of speed, the machine may be busy.
async fn until(happened: impl Fn() -> bool) {
    let waited = async {
        while !happened() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waited).await.unwrap();
}
