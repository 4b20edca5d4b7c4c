//! What processes show of themselves keeps to the rules of what may be seen, and when.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use micro::core::clock;
use micro::debug::{Capture, Memory, Stats};
use micro::prelude::*;
use micro::registry;

#[derive(Clone, Default)]
struct Till {
    opened: Arc<Notify>,
    close: Arc<Notify>,
}

#[service(name = "till")]
impl Till {
    #[handler]
    async fn jam(&self, password: String) -> Result<()> {
        tracing::warn!(password, "jammed");
        Err(Error::internal("till", "jammed"))
    }

    #[handler]
    async fn hold(&self) -> Result<()> {
        self.opened.notify_one();
        self.close.notified().await;
        Ok(())
    }

    /// Holds its worker thread.
    #[handler]
    async fn block(&self) -> Result<()> {
        let until = clock::after(clock::now(), Duration::from_millis(2500));
        while clock::now() < until {
            std::hint::spin_loop();
        }
        Ok(())
    }
}

async fn running(till: Till, recorder: Memory) -> Running {
    let service = Service::new("market").no_env().registry(registry::Memory::new());
    service.mount(till).recorder(recorder).start().await.unwrap()
}

async fn http(address: &str, request: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n"
    );
    let secret = "authorization: Bearer hunter2\r\nx-api-token: hunter2\r\n\r\n";
    stream.write_all(format!("{head}{secret}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// A19: what is secret in a call shows up in none of the places that tell of calls.
#[tokio::test]
async fn a19_no_secret_of_a_call_is_seen_inside() {
    let recorder = Memory::new();
    let capture = Capture::alone(Arc::new(recorder.clone()));
    let _captured = tracing::subscriber::set_default(capture);
    let running = running(Till::default(), recorder).await;
    let address = running.address().to_string();
    let failed = http(&address, "POST /till/Till.Jam", "\"hunter2\"").await;
    assert!(failed.starts_with("HTTP/1.1 500"), "{failed}");
    for page in
        ["GET /metrics", "POST /till/Debug.Stats", "POST /till/Debug.Trace", "POST /till/Debug.Log"]
    {
        let seen = http(&address, page, "").await;
        assert!(seen.starts_with("HTTP/1.1 200"), "{page}: {seen}");
        assert!(seen.contains("ill.Jam") || seen.contains("jammed"), "{page} tells of it: {seen}");
        assert!(!seen.contains("hunter2"), "{page}: {seen}");
    }
    running.stop().await;
}

/// F22: a handler that holds its worker is a number, and stands in the page of numbers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f22_a_handler_that_holds_its_worker_is_counted() {
    let running = running(Till::default(), Memory::new()).await;
    let (till, client): (TillClient, Client) = (running.client(), running.client());
    till.block().await.unwrap();
    let stats: Stats = client.call("till", "Debug.Stats", &()).await.unwrap();
    let stalls = stats.gauges.iter().find(|gauge| gauge.name == "stalls").unwrap();
    assert!(stalls.value >= 1, "{stats:?}");
    let page = http(&running.address().to_string(), "GET /metrics", "").await;
    assert!(page.contains("\nmicro_stalls_total "), "{page}");
    running.stop().await;
}

/// G8: health is told until the end of a stop.
#[tokio::test]
async fn g8_health_is_told_until_the_end() {
    let till = Till::default();
    let running = running(till.clone(), Memory::new()).await;
    let address = running.address().to_string();
    let client: TillClient = running.client();
    let held = tokio::spawn(client.hold());
    till.opened.notified().await;
    let stopping = tokio::spawn({
        let running = running.clone();
        async move { running.stop().await }
    });
    // It says that it takes no more work as soon as the stop has begun.
    while http(&address, "GET /readyz", "").await.starts_with("HTTP/1.1 200") {
        tokio::task::yield_now().await;
    }
    let alive = http(&address, "GET /healthz", "").await;
    assert!(alive.starts_with("HTTP/1.1 200"), "{alive}");
    let inside = http(&address, "POST /till/Debug.Health", "").await;
    assert!(inside.starts_with("HTTP/1.1 200") && inside.contains("\"ready\":false"), "{inside}");
    till.close.notify_one();
    assert!(stopping.await.unwrap().is_clean());
    held.await.unwrap().unwrap();
}
