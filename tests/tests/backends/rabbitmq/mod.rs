//! RabbitMQ: the broker, and what is left of its promises when the server fails.

mod contract;
mod failing;
mod rate;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, Delivery, Handler, Message, RabbitMq, RabbitMqConfig};
use micro::core::clock;
use micro::core::content_type::ContentType;
use micro::core::shutdown::TaskTracker;
use micro::driver::{Amqp, Link, Server as Address};
use micro::transport::Scope;
use micro_tests::server::{Server, rabbitmq};

/// What has to happen happens within this time; the server may have to start again meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn trials() -> Vec<Trial> {
    [contract::trials(), failing::trials(), rate::trials()].into_iter().flatten().collect()
}

/// The server of the tests that leave it running.
static SHARED: Mutex<Option<Arc<Server>>> = Mutex::new(None);

/// Returns a server that others use, too.
fn shared() -> Arc<Server> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(shared.get_or_insert_with(|| {
        // Started by a thread that lives as long as the process: the kernel kills a server with the
        // thread that started it.
        let (sender, started) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            sender.send(rabbitmq()).unwrap();
            loop {
                std::thread::park();
            }
        });
        Arc::new(started.recv().unwrap())
    }))
}

/// Ends the shared server.
pub(crate) fn end() {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner).take();
}

/// A broker as one process has it.
struct Process {
    scope: Scope,
    amqp: Amqp,
    broker: RabbitMq,
}

impl Process {
    fn new(server: &Server, config: &RabbitMqConfig) -> Self {
        let scope = Scope::default();
        let amqp = Amqp::open(&Address::new("127.0.0.1", server.port()), &scope.tasks).unwrap();
        let broker = RabbitMq::new(&amqp, config, &scope).unwrap();
        Self { scope, amqp, broker }
    }

    fn of(server: &Server) -> Self {
        Self::new(server, &RabbitMqConfig::default())
    }

    async fn up(&self) {
        let is_up = async {
            while !self.amqp.is_up() {
                clock::sleep(Duration::from_millis(10)).await;
            }
        };
        clock::timeout(PATIENCE, is_up).await.expect("the server is not found");
    }

    async fn end(self) {
        self.broker.close(clock::after(clock::now(), PATIENCE)).await.unwrap();
        self.scope.tasks.abort_all();
        assert_eq!(self.scope.tasks.wait(clock::after(clock::now(), PATIENCE)).await, 0);
    }
}

fn tracker() -> TaskTracker {
    TaskTracker::new()
}

fn topic() -> String {
    format!("test-{:016x}", rand())
}

/// Returns a number that no other test has.
fn rand() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

fn message(topic: &str, body: impl Into<Bytes>) -> Message {
    Message::new(topic, ContentType::Json, body.into())
}

/// Makes a handler that decides at once.
fn handler(decide: impl Fn(&Delivery) -> Ack + Send + Sync + 'static) -> Handler {
    Arc::new(move |delivery| {
        let ack = decide(&delivery);
        Box::pin(async move { ack })
    })
}
