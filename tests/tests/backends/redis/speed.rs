//! From publish to delivery, beside the client that it is built on: one server, one run, by turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, Handler, Message, Redis, RedisPubSub, SubscribeOptions};
use micro::core::content_type::ContentType;
use micro::core::limits::Limits;
use micro_tests::server::{REDIS, Server, redis, trial};
use redis::AsyncCommands as _;
use tokio::sync::Notify;

use super::{connect, is_long};

/// Publishers at a time, and handlers.
const AT_ONCE: usize = 64;

const ROUNDS: usize = 5;

const BODY: usize = 256;

pub(super) fn trials() -> Vec<Trial> {
    if !is_long() {
        return Vec::new();
    }
    vec![
        trial("redis::streams_are_as_fast_as_the_bare_client", &REDIS, || async {
            let server = fast();
            compare(
                "streams",
                20_000,
                async |n| bare_streams(&server, n).await,
                async |n| ours_streams(&server, n).await,
            )
            .await;
        }),
        trial("redis::pubsub_is_as_fast_as_the_bare_client", &REDIS, || async {
            let server = fast();
            compare(
                "pub/sub",
                20_000,
                async |n| bare_pubsub(&server, n).await,
                async |n| ours_pubsub(&server, n).await,
            )
            .await;
        }),
    ]
}

/// A server that waits for no disk: what is measured is the way to it and back.
fn fast() -> Server {
    let server = redis();
    assert_eq!(super::say(&server, "CONFIG SET appendonly no"), "+OK");
    server
}

async fn compare(
    what: &str,
    messages: usize,
    bare: impl AsyncFn(usize) -> Duration,
    ours: impl AsyncFn(usize) -> Duration,
) {
    bare(messages / 10).await;
    ours(messages / 10).await;
    let (mut theirs, mut own) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        theirs.push(bare(messages).await);
        own.push(ours(messages).await);
    }
    theirs.sort();
    own.sort();
    let rate = |times: &[Duration]| messages as f64 / times[ROUNDS / 2].as_secs_f64();
    let (bare, ours) = (rate(&theirs), rate(&own));
    println!("{what}: bare {bare:.0}/s, micro {ours:.0}/s, ratio {:.2}", ours / bare);
    // Without optimization what is measured is the compiler.
    let good = ours / bare >= 0.8 || cfg!(debug_assertions);
    assert!(good, "{what}: {:.2} of the bare client", ours / bare);
}

/// Counts to a number.
struct Goal {
    left: AtomicUsize,
    reached: Notify,
}

impl Goal {
    fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(count), reached: Notify::new() })
    }

    fn count(&self, by: usize) {
        if self.left.fetch_sub(by, SeqCst) == by {
            self.reached.notify_one();
        }
    }
}

/// Publishes with so many at a time and waits for the last delivery.
async fn run<F: Future<Output = ()> + Send + 'static>(
    messages: usize,
    goal: &Goal,
    publish: impl Fn() -> F + Clone + Send + 'static,
) -> Duration {
    let began = Instant::now();
    let mut tasks = Vec::new();
    for n in 0..AT_ONCE {
        let publish = publish.clone();
        let share = messages / AT_ONCE + usize::from(n < messages % AT_ONCE);
        tasks.push(super::spawn(async move {
            for _ in 0..share {
                publish().await;
            }
        }));
    }
    tokio::time::timeout(Duration::from_secs(120), goal.reached.notified()).await.unwrap();
    let took = began.elapsed();
    for task in tasks {
        task.await.unwrap();
    }
    took
}

async fn bare_streams(server: &Server, messages: usize) -> Duration {
    let client = redis::Client::open(format!("redis://{}", server.address())).unwrap();
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let connection = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
    let mut reader = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
    let goal = Goal::new(messages);
    let made: redis::RedisResult<()> = redis::cmd("XGROUP")
        .arg(&["CREATE", "bare", "g", "$", "MKSTREAM"])
        .query_async(&mut reader)
        .await;
    drop(made);
    let (counting, mut acks) = (Arc::clone(&goal), connection.clone());
    let reading = super::spawn(async move {
        let mut left = messages;
        while left > 0 {
            let got: redis::Value = redis::cmd("XREADGROUP")
                .arg(&["GROUP", "g", "c", "COUNT", "64", "BLOCK", "5000", "STREAMS", "bare", ">"])
                .query_async(&mut reader)
                .await
                .unwrap();
            let redis::Value::Array(streams) = got else { continue };
            let Some(redis::Value::Array(parts)) = streams.into_iter().next() else { continue };
            let Some(redis::Value::Array(entries)) = parts.into_iter().nth(1) else { continue };
            let mut ack = redis::cmd("XACK");
            ack.arg("bare").arg("g");
            for entry in &entries {
                let redis::Value::Array(entry) = entry else { continue };
                if let Some(redis::Value::BulkString(id)) = entry.first() {
                    ack.arg(id.as_slice());
                }
            }
            let acknowledged: usize = ack.query_async(&mut acks).await.unwrap();
            left -= acknowledged;
            counting.count(acknowledged);
        }
    });
    let body = vec![b'x'; BODY];
    let took = run(messages, &goal, move || {
        let (mut connection, body) = (connection.clone(), body.clone());
        async move {
            let mut add = redis::cmd("XADD");
            add.arg("bare").arg("*").arg("i").arg("01J0000000000000000000000").arg("b").arg(body);
            let _id: String = add.query_async(&mut connection).await.unwrap();
        }
    })
    .await;
    reading.await.unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let _gone: usize = connection.del("bare").await.unwrap();
    took
}

async fn ours_streams(server: &Server, messages: usize) -> Duration {
    let broker = Redis::new(connect(server), super::prefix(), &Limits::default());
    let goal = Goal::new(messages);
    let counting = Arc::clone(&goal);
    let handler: Handler = Arc::new(move |_| {
        counting.count(1);
        Box::pin(async { Ack::Ack })
    });
    let options =
        SubscribeOptions::default().with_queue("q").with_concurrency(AT_ONCE.try_into().unwrap());
    let _subscription = broker.subscribe("speed", options, handler).await.unwrap();
    let publisher = broker.clone();
    run(messages, &goal, move || {
        let publisher = publisher.clone();
        async move {
            let body = vec![b'x'; BODY].into();
            publisher.publish(Message::new("speed", ContentType::Json, body)).await.unwrap();
        }
    })
    .await
}

async fn bare_pubsub(server: &Server, messages: usize) -> Duration {
    let goal = Goal::new(messages);
    let counting = Arc::clone(&goal);
    let client = redis::Client::open(format!("redis://{}?protocol=resp3", server.address()));
    let client = client.unwrap();
    let config =
        redis::AsyncConnectionConfig::new().set_push_sender(move |info: redis::PushInfo| {
            if info.kind == redis::PushKind::Message {
                counting.count(1);
            }
            Ok::<(), ()>(())
        });
    let mut reader = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
    reader.subscribe("bare").await.unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let body = vec![b'x'; BODY];
    run(messages, &goal, move || {
        let (mut connection, body) = (connection.clone(), body.clone());
        async move {
            let _count: usize = connection.publish("bare", body).await.unwrap();
        }
    })
    .await
}

async fn ours_pubsub(server: &Server, messages: usize) -> Duration {
    let mut limits = Limits::default();
    limits.broker.pending_messages_max = messages;
    let broker = RedisPubSub::new(connect(server), super::prefix(), &limits);
    let goal = Goal::new(messages);
    let counting = Arc::clone(&goal);
    let handler: Handler = Arc::new(move |_| {
        counting.count(1);
        Box::pin(async { Ack::Ack })
    });
    let _subscription =
        broker.subscribe("speed", SubscribeOptions::default(), handler).await.unwrap();
    let publisher = broker.clone();
    run(messages, &goal, move || {
        let publisher = publisher.clone();
        async move {
            let body = vec![b'x'; BODY].into();
            publisher.publish(Message::new("speed", ContentType::Json, body)).await.unwrap();
        }
    })
    .await
}
