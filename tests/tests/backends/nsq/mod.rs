//! NSQ: the broker against a stand-in for nsqd, and what is left of its promises when that fails.

mod contract;
mod failing;
mod finding;
mod hostile;
mod limits;
mod lookupd;
mod nsqd;
mod vectors;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use libtest_mimic::Trial;
use micro::broker::{
    Ack, Broker, Delivery, Handler, Message, Nsq, NsqConfig, Nsqd as Link, SubscribeOptions,
};
use micro::core::clock;
use micro::core::content_type::ContentType;
use micro::driver::{Link as _, Server, ServerUrl};
use micro::transport::Scope;
use tokio::sync::mpsc;

use self::nsqd::Nsqd;

/// What has to happen happens within this time.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn trials() -> Vec<Trial> {
    [
        contract::trials(),
        failing::trials(),
        finding::trials(),
        hostile::trials(),
        limits::trials(),
        vectors::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A broker as one process has it.
struct Process {
    scope: Scope,
    link: Arc<Link>,
    broker: Nsq,
}

impl Process {
    fn new(server: &Server, config: &NsqConfig) -> Self {
        let scope = Scope::default();
        let link = Arc::new(Link::open(server, &scope.tasks));
        let broker = Nsq::new(Arc::clone(&link), config, &scope);
        Self { scope, link, broker }
    }

    fn of(nsqd: &Nsqd) -> Self {
        Self::new(&server(&[nsqd.port()]), &NsqConfig::default())
    }

    async fn up(&self) {
        until("nsqd is found", || self.link.is_up()).await;
    }

    async fn end(self) {
        self.broker.close(clock::after(clock::now(), PATIENCE)).await.unwrap();
        self.scope.tasks.abort_all();
        assert_eq!(self.scope.tasks.wait(clock::after(clock::now(), PATIENCE)).await, 0);
    }

    async fn publish(&self, topic: &str, body: &str) {
        self.broker.publish(message(topic, body.to_owned())).await.unwrap();
    }
}

fn server(ports: &[u16]) -> Server {
    let hosts: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    ServerUrl::parse(&format!("nsq://{}", hosts.join(",")), 1).unwrap().server().clone()
}

/// Waits until something is so.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            clock::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(clock::timeout(PATIENCE, waiting).await.is_ok(), "never: {what}");
}

fn message(topic: &str, body: impl Into<Bytes>) -> Message {
    Message::new(topic, ContentType::Json, body.into())
}

fn group(queue: &str, concurrency: usize) -> SubscribeOptions {
    let concurrency = NonZeroUsize::new(concurrency).unwrap();
    SubscribeOptions::default().with_queue(queue).with_concurrency(concurrency)
}

/// Makes a handler that decides at once.
fn handler(decide: impl Fn(&Delivery) -> Ack + Send + Sync + 'static) -> Handler {
    Arc::new(move |delivery| {
        let ack = decide(&delivery);
        Box::pin(async move { ack })
    })
}

/// Makes a handler that acknowledges everything, and what it got.
fn inbox() -> (Handler, mpsc::Receiver<Delivery>) {
    let (sender, came) = mpsc::channel(10_000);
    let take = handler(move |delivery| {
        sender.try_send(delivery.clone()).unwrap();
        Ack::Ack
    });
    (take, came)
}

async fn next(came: &mut mpsc::Receiver<Delivery>) -> Delivery {
    clock::timeout(PATIENCE, came.recv()).await.expect("nothing comes").unwrap()
}

async fn next_body(came: &mut mpsc::Receiver<Delivery>) -> String {
    String::from_utf8(next(came).await.message.body.to_vec()).unwrap()
}
