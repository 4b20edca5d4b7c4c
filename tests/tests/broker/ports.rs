//! The http broker on the one port of a service: what go-micro posts, and other services.

use std::sync::Arc;
use std::time::Duration;

use micro::broker::{Broker, Http, INBOX_SERVICE, Message};
use micro::core::content_type::ContentType;
use micro::prelude::*;
use micro::registry::{Memory, Node, Record, Registry};
use micro::service::Running;
use micro::transport::{Native, Scope};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Named {
    name: String,
}

const EVENTS: Topic<Named> = Topic::new("events");

struct Listener {
    came: mpsc::Sender<(String, Named)>,
}

#[service]
impl Listener {
    #[subscriber(topic = EVENTS, queue = "listeners")]
    async fn on_event(&self, event: Event<Named>) -> Result<()> {
        let tenant = event.metadata().get("tenant").unwrap_or_default().to_owned();
        let came = (tenant, Named::clone(&event));
        self.came.send(came).await.map_err(|_| Error::unavailable("listener", "it stopped"))
    }
}

fn service(name: &str, registry: &Memory) -> Service {
    let settings = [("MICRO_BROKER", "http")];
    Service::new(name).no_args().env(settings).registry(registry.clone())
}

async fn listener(registry: &Memory) -> (Running, mpsc::Receiver<(String, Named)>) {
    let (came, events) = mpsc::channel(100);
    let running = service("listener", registry).mount(Listener { came }).start().await.unwrap();
    (running, events)
}

async fn node(registry: &Memory) -> Node {
    let records = registry.lookup(INBOX_SERVICE).await.unwrap().unwrap();
    assert_eq!(records[0].version, "listeners");
    records[0].nodes[0].clone()
}

async fn post(address: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: Go-http-client/1.1\r\n\
         Content-Length: {length}\r\nContent-Type: application/json\r\n\
         Accept-Encoding: gzip\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.lines().next().unwrap().to_owned()
}

#[tokio::test]
async fn one_service_publishes_and_another_one_hears() {
    let registry = Memory::new();
    let (running, mut events) = listener(&registry).await;
    let shop = service("shop", &registry).start().await.unwrap();
    for n in 0..100 {
        shop.broker().publish(&EVENTS, &Named { name: n.to_string() }).await.unwrap();
    }
    for n in 0..100 {
        assert_eq!(events.recv().await.unwrap().1.name, n.to_string());
    }
    let stopped = running.stop().await;
    assert!(stopped.is_clean(), "{stopped}");
    assert!(shop.stop().await.is_clean());
    assert_eq!(registry.lookup(INBOX_SERVICE).await.unwrap(), None);
}

#[tokio::test]
async fn what_go_micro_posts_is_an_event() {
    let registry = Memory::new();
    let (running, mut events) = listener(&registry).await;
    let node = node(&registry).await;
    let facts = ["broker", "topic", "secure"].map(|key| node.metadata[key].as_str());
    assert_eq!(facts, ["http", "events", "false"]);
    assert!(node.id.starts_with("events-"));
    let body = r#"{"Header":{"Content-Type":"application/json","Tenant":"acme","Micro-Id":"8b813bdd","Micro-Topic":"events"},"Body":"eyJuYW1lIjoiZXZ0In0K"}"#;
    let path = format!("/?id={}", node.id);
    assert_eq!(post(&node.address, &path, body).await, "HTTP/1.1 200 OK");
    let (tenant, event) = events.recv().await.unwrap();
    assert_eq!((tenant.as_str(), event.name.as_str()), ("acme", "evt"));
    assert!(post(&node.address, "/?id=nobody", body).await.contains(" 404 "));
    assert!(post(&node.address, &path, "{}").await.contains(" 400 "));
    running.stop().await;
}

/// A subscription as go-micro registers one.
async fn gopher(registry: &Memory, version: &str) -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let facts = [("broker", "http"), ("secure", "false"), ("topic", "events")];
    let node = Node {
        id: "events-4bca9f7a-53c6".into(),
        address: listener.local_addr().unwrap().to_string(),
        metadata: facts.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
    };
    let record = Record {
        name: INBOX_SERVICE.into(),
        version: version.into(),
        nodes: vec![node],
        ..Record::default()
    };
    registry.register(&record, Duration::from_secs(60)).await.unwrap();
    listener
}

#[tokio::test]
async fn go_micro_gets_what_it_subscribed_to() {
    let registry = Memory::new();
    let listener = gopher(&registry, "ff.http.broadcast").await;
    let broker = Http::new(Arc::new(registry), Arc::new(Native), Scope::default());
    let body = r#"{"name":"evt"}"#.into();
    let mut metadata = micro::core::metadata::Metadata::new();
    metadata.insert("tenant", "acme").unwrap();
    let message = Message::new("events", ContentType::Json, body).with_metadata(metadata);
    let wanted = format!(
        r#"{{"Header":{{"Content-Type":"application/json","Micro-Id":"{}","Micro-Topic":"events","Tenant":"acme"}},"Body":"eyJuYW1lIjoiZXZ0In0="}}"#,
        message.id
    );
    let (published, asked) = tokio::join!(broker.publish(message), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        // go-micro ends a document by a line break.
        while !String::from_utf8_lossy(&asked).trim_end().ends_with('}') {
            assert!(stream.read_buf(&mut asked).await.unwrap() > 0);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        String::from_utf8(asked).unwrap()
    });
    published.unwrap();
    assert!(asked.starts_with("POST /?id=events-4bca9f7a-53c6 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.trim_end().ends_with(&wanted), "{asked}");
    assert_eq!((broker.sent().posted, broker.sent().unsettled), (1, 0));
}

#[tokio::test]
async fn go_micro_that_is_gone_makes_publishing_fail_safely() {
    let registry = Memory::new();
    drop(gopher(&registry, "queue").await);
    let broker = Http::new(Arc::new(registry), Arc::new(Native), Scope::default());
    let message = Message::new("events", ContentType::Json, "{}".into());
    let error = broker.publish(message).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, micro::core::error::Retry::Safe), "{error}");
}
