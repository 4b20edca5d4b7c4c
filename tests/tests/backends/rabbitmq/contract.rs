//! What the broker promises of a server that runs.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, QueueDeclareOptions};
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, QueueBindOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, DeadLetter, Message, RabbitMqConfig, SubscribeOptions, Unrouted};
use micro::core::clock;
use micro::core::content_type::ContentType;
use micro::core::error::{Error, Retry};
use micro::core::metadata::Metadata;
use micro::driver::Drivers;
use micro::registry;
use micro::service::open;
use micro::testkit::broker::{Pair, conforms};
use micro::transport::{self, Scope};
use micro_tests::server::{RABBITMQ, Server, trial};
use tokio::sync::mpsc;

use super::{PATIENCE, Process, handler, message, shared, topic, tracker};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("rabbitmq::the_broker_conforms", &RABBITMQ, the_broker_conforms),
        trial("rabbitmq::a_url_opens_a_broker", &RABBITMQ, a_url_opens_a_broker),
        trial(
            "rabbitmq::what_a_group_misses_waits_for_it",
            &RABBITMQ,
            what_a_group_misses_waits_for_it,
        ),
        trial(
            "rabbitmq::dead_letters_wait_for_a_reader",
            &RABBITMQ,
            dead_letters_wait_for_a_reader,
        ),
        trial(
            "rabbitmq::a_message_whose_handlers_never_decide_is_given_up",
            &RABBITMQ,
            a_message_whose_handlers_never_decide_is_given_up,
        ),
        trial(
            "rabbitmq::what_nobody_takes_is_refused_where_that_is_asked_for",
            &RABBITMQ,
            what_nobody_takes_is_refused_where_that_is_asked_for,
        ),
        trial(
            "rabbitmq::a_full_queue_is_told_from_a_lost_message",
            &RABBITMQ,
            a_full_queue_is_told_from_a_lost_message,
        ),
        trial(
            "rabbitmq::others_read_and_write_the_same_messages",
            &RABBITMQ,
            others_read_and_write_the_same_messages,
        ),
        trial(
            "rabbitmq::a_queue_that_was_declared_otherwise_is_said",
            &RABBITMQ,
            a_queue_that_was_declared_otherwise_is_said,
        ),
    ]
}

/// K1 to K13, between two processes.
async fn the_broker_conforms() {
    let server = shared();
    conforms(&|| {
        let (first, second) = (Process::of(&server), Process::of(&server));
        Box::pin(async move {
            first.up().await;
            second.up().await;
            let pair = Pair::new(Arc::new(first.broker), Arc::new(second.broker));
            Arc::new(pair) as Arc<dyn Broker>
        })
    })
    .await;
}

async fn a_url_opens_a_broker() {
    let server = shared();
    let registry: Arc<dyn registry::Registry> = Arc::new(registry::Memory::new());
    let transport: Arc<dyn transport::Transport> = Arc::new(transport::Memory::default());
    let (scope, drivers) = (Scope::default(), Drivers::default());
    let open = |url: &str| open::broker(url, &registry, &transport, &scope, &drivers);
    let base = format!("rabbitmq://guest:guest@{}", server.address());
    let broker = open(&format!("{base}/%2f?exchange=micro.url")).unwrap();
    assert_eq!(broker.name(), "rabbitmq");
    let (topic, (sender, mut came)) = (topic(), mpsc::channel(10));
    let take = handler(move |delivery| {
        sender.try_send(delivery.message.body.clone()).unwrap();
        Ack::Ack
    });
    let _subscription = broker.subscribe(&topic, SubscribeOptions::default(), take).await.unwrap();
    broker.publish(message(&topic, "1")).await.unwrap();
    assert_eq!(clock::timeout(PATIENCE, came.recv()).await.unwrap().unwrap(), "1");
    drivers.check().unwrap();
    for wrong in ["exchange=amq.topic", "exchange=", "unrouted=maybe", "queue=q"] {
        let error = open(&format!("{base}?{wrong}")).map(drop).unwrap_err();
        assert_eq!(error.code(), 412, "{wrong}: {error}");
    }
    // A user whom the server does not know is one that never gets through.
    let stranger = open(&format!("rabbitmq://guest:wrong@{}", server.address())).unwrap();
    let refused = stranger.publish(message(&topic, "2")).await.unwrap_err();
    assert_eq!((refused.code(), refused.retry()), (503, Retry::Safe));
    assert!(drivers.check().is_err());
}

/// Promise 3: a live group is one that has subscribed once.
async fn what_a_group_misses_waits_for_it() {
    let server = shared();
    let (process, topic) = (Process::of(&server), topic());
    let options = || SubscribeOptions::default().with_queue("mailer");
    let nothing = handler(|_| Ack::Ack);
    process.broker.subscribe(&topic, options(), nothing).await.unwrap().close();
    for number in 0..100 {
        process.broker.publish(message(&topic, number.to_string())).await.unwrap();
    }
    process.end().await;
    let (process, (sender, mut came)) = (Process::of(&server), mpsc::channel(200));
    let take = handler(move |delivery| {
        sender.try_send(delivery.message.body.clone()).unwrap();
        Ack::Ack
    });
    let _subscription = process.broker.subscribe(&topic, options(), take).await.unwrap();
    for number in 0..100 {
        let next = clock::timeout(PATIENCE, came.recv()).await.unwrap().unwrap();
        assert_eq!(next, number.to_string());
    }
}

async fn dead_letters_wait_for_a_reader() {
    let server = shared();
    let (process, topic) = (Process::of(&server), topic());
    let pattern = format!("{topic}.>");
    let topic = format!("{topic}.created");
    let options = |queue: &str| SubscribeOptions::default().with_queue(queue);
    let (sender, mut came) = mpsc::channel(10);
    let refuse = handler(move |_| {
        sender.try_send(()).unwrap();
        Ack::reject("no such order")
    });
    let failing = process.broker.subscribe(&pattern, options("q"), refuse).await.unwrap();
    let sent = message(&topic, "7");
    process.broker.publish(sent.clone()).await.unwrap();
    clock::timeout(PATIENCE, came.recv()).await.unwrap().unwrap();
    failing.drain(clock::after(clock::now(), PATIENCE)).await.unwrap();
    // Nobody was subscribed to them when they were published.
    let (sender, mut letters) = mpsc::channel(10);
    let read = handler(move |delivery| {
        sender.try_send(Arc::clone(&delivery.message)).unwrap();
        Ack::Ack
    });
    let dead = format!("{topic}.dead");
    let _reading = process.broker.subscribe(&dead, options("dead"), read).await.unwrap();
    let letter = clock::timeout(PATIENCE, letters.recv()).await.unwrap().unwrap();
    let letter = DeadLetter::from_message(&letter).unwrap();
    assert_eq!(*letter.message, sent);
    assert_eq!((letter.queue.as_deref(), letter.attempts), (Some("q"), 1));
    assert_eq!(letter.reason, "no such order");
}

/// K4: counted by the server, so that processes that die of a message count, too.
async fn a_message_whose_handlers_never_decide_is_given_up() {
    let server = shared();
    let (process, topic) = (Process::of(&server), topic());
    let options = || SubscribeOptions::default().with_queue("q");
    let (sender, mut attempts) = mpsc::channel(10);
    let handler: micro::broker::Handler = Arc::new(move |delivery| {
        sender.try_send(delivery.attempt).unwrap();
        Box::pin(std::future::pending())
    });
    let hold = || process.broker.subscribe(&topic, options(), Arc::clone(&handler));
    let mut holding = hold().await.unwrap();
    process.broker.publish(message(&topic, "1")).await.unwrap();
    for attempt in 1..=5 {
        let came = clock::timeout(PATIENCE, attempts.recv()).await.unwrap().unwrap();
        assert_eq!(came, attempt);
        holding.close();
        holding = hold().await.unwrap();
    }
    let (sender, mut letters) = mpsc::channel(10);
    let read = super::handler(move |delivery| {
        sender.try_send(Arc::clone(&delivery.message)).unwrap();
        Ack::Ack
    });
    let dead = SubscribeOptions::default().with_queue("dead");
    let dead_topic = format!("{topic}.dead");
    let _reading = process.broker.subscribe(&dead_topic, dead, read).await.unwrap();
    let letter = clock::timeout(PATIENCE, letters.recv()).await.unwrap().unwrap();
    let letter = DeadLetter::from_message(&letter).unwrap();
    assert_eq!((letter.attempts, &*letter.reason), (5, "not handled in 5 deliveries"));
    assert!(attempts.try_recv().is_err(), "a handler gets it a sixth time");
}

/// K8: each of many publishers at a time learns what became of its own message.
async fn what_nobody_takes_is_refused_where_that_is_asked_for() {
    let server = shared();
    let config = RabbitMqConfig::default().with_unrouted(Unrouted::Refuse);
    let (process, topic) = (Process::new(&server, &config), topic());
    let (sender, mut came) = mpsc::channel(1_000);
    let take = handler(move |delivery| {
        sender.try_send(delivery.message.body.clone()).unwrap();
        Ack::Ack
    });
    let options =
        SubscribeOptions::default().with_queue("q").with_concurrency(NonZeroUsize::new(8).unwrap());
    let heard = format!("{topic}.heard");
    let _subscription = process.broker.subscribe(&heard, options, take).await.unwrap();
    let tracker = tracker();
    let publishing: Vec<_> = (0..300)
        .map(|number: u32| {
            let (broker, heard) = (process.broker.clone(), number.is_multiple_of(3));
            let topic = format!("{topic}.{}", if heard { "heard" } else { "unheard" });
            tracker.spawn("publish", async move {
                let outcome = broker.publish(message(&topic, number.to_string())).await;
                (heard, outcome.map_err(|error| (error.code(), error.retry())))
            })
        })
        .collect();
    for one in publishing {
        let (heard, outcome) = one.await.unwrap();
        assert_eq!(outcome, if heard { Ok(()) } else { Err((503, Retry::Safe)) });
    }
    let mut bodies = BTreeSet::new();
    while bodies.len() < 100 {
        bodies.extend(clock::timeout(PATIENCE, came.recv()).await.unwrap());
    }
    assert!(
        bodies
            .iter()
            .all(|body| std::str::from_utf8(body).unwrap().parse::<u32>().unwrap() % 3 == 0)
    );
}

/// Connects with the bare client.
async fn bare(server: &Server) -> (Connection, Channel) {
    let url = format!("amqp://guest:guest@{}/%2f", server.address());
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

/// Declares a queue with the bare client and binds it to a topic.
async fn bind(channel: &Channel, topic: &str, arguments: FieldTable) -> String {
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare("".into(), options, arguments).await.unwrap();
    let (name, options) = (queue.name().clone(), QueueBindOptions::default());
    let bound = channel.queue_bind(
        name.clone(),
        "micro".into(),
        topic.into(),
        options,
        FieldTable::default(),
    );
    bound.await.unwrap();
    name.to_string()
}

/// K8.
async fn a_full_queue_is_told_from_a_lost_message() {
    let server = shared();
    let (process, topic) = (Process::of(&server), topic());
    let publish = || process.broker.publish(message(&topic, "1"));
    publish().await.unwrap();
    let (_connection, channel) = bare(&server).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    bind(&channel, &topic, arguments).await;
    publish().await.unwrap();
    let full = publish().await.unwrap_err();
    assert_eq!((full.code(), full.retry()), (429, Retry::Unknown), "{full}");
    // Another topic is not held up.
    process.broker.publish(message(&format!("{topic}.other"), "1")).await.unwrap();
}

async fn others_read_and_write_the_same_messages() {
    let server = shared();
    let (process, topic) = (Process::of(&server), topic());
    let (sender, mut came) = mpsc::channel(10);
    let take = handler(move |delivery| {
        sender.try_send(Arc::clone(&delivery.message)).unwrap();
        Ack::Ack
    });
    let options = SubscribeOptions::default();
    let _subscription = process.broker.subscribe(&topic, options, take).await.unwrap();
    let (_connection, channel) = bare(&server).await;
    let queue = bind(&channel, &topic, FieldTable::default()).await;
    let mut metadata = Metadata::new();
    metadata.insert("tenant", "acme").unwrap();
    let sent = message(&topic, "{}").with_metadata(metadata);
    process.broker.publish(sent.clone()).await.unwrap();
    assert_eq!(*clock::timeout(PATIENCE, came.recv()).await.unwrap().unwrap(), sent);

    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer =
        channel.basic_consume(queue.as_str().into(), "".into(), options, arguments).await.unwrap();
    let read = clock::timeout(PATIENCE, consumer.next()).await.unwrap().unwrap().unwrap();
    read.ack(BasicAckOptions::default()).await.unwrap();
    assert_eq!((read.exchange.as_str(), read.routing_key.as_str()), ("micro", topic.as_str()));
    assert_eq!(read.data, b"{}");
    let properties = &read.properties;
    assert_eq!(properties.message_id().as_ref().unwrap().as_str(), sent.id);
    assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/json");
    assert_eq!(*properties.delivery_mode(), Some(2));
    let headers = properties.headers().as_ref().unwrap().inner();
    assert_eq!(headers.get("tenant"), Some(&AMQPValue::LongString("acme".into())));

    // As services of go-micro write it: all that is known stands in the headers.
    let mut headers = FieldTable::default();
    headers.insert("Content-Type".into(), AMQPValue::LongString("application/json".into()));
    headers.insert("Tenant".into(), AMQPValue::LongString("acme".into()));
    let (options, properties) =
        (BasicPublishOptions::default(), BasicProperties::default().with_headers(headers));
    let (exchange, key) = ("micro".into(), topic.as_str().into());
    channel.basic_publish(exchange, key, options, b"[]", properties).await.unwrap().await.unwrap();
    let came: Arc<Message> = clock::timeout(PATIENCE, came.recv()).await.unwrap().unwrap();
    assert_eq!((&*came.body, &came.content_type), (&b"[]"[..], &ContentType::Json));
    assert_eq!(came.metadata.iter().collect::<Vec<_>>(), [("tenant", "acme")]);
}

async fn a_queue_that_was_declared_otherwise_is_said() {
    let server = shared();
    let (process, topic) = (Process::of(&server), topic());
    let (_connection, channel) = bare(&server).await;
    let options = QueueDeclareOptions { auto_delete: true, ..QueueDeclareOptions::default() };
    let name = format!("{topic}:q");
    channel.queue_declare(name.as_str().into(), options, FieldTable::default()).await.unwrap();
    let options = SubscribeOptions::default().with_queue("q");
    let subscribe = process.broker.subscribe(&topic, options, handler(|_| Ack::Ack));
    let error: Error =
        clock::timeout(Duration::from_secs(30), subscribe).await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.retry()), (412, Retry::Never), "{error}");
    assert!(error.detail().contains(&name), "{error}");
}
