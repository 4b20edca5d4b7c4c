//! What the broker promises of a server that runs.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use google_cloud_pubsub::client::{Publisher, Subscriber, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::model::Message as Bare;
use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, SubscribeOptions};
use micro::core::clock;
use micro::core::content_type::ContentType;
use micro::core::error::Retry;
use micro::core::metadata::Metadata;
use micro::driver::Drivers;
use micro::registry;
use micro::service::open;
use micro::testkit::broker::{Pair, conforms};
use micro::transport::{self, Scope};
use micro_tests::server::{Server, pubsub_trial};
use tokio::sync::{Semaphore, mpsc};

use super::{PATIENCE, PROJECT, Process, handler, message, next, next_letter, nobody, shared};
use super::{topic, tracker, url};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        pubsub_trial("pubsub::the_broker_conforms", the_broker_conforms),
        pubsub_trial("pubsub::a_url_opens_a_broker", a_url_opens_a_broker),
        pubsub_trial("pubsub::what_a_group_misses_waits_for_it", what_a_group_misses_waits_for_it),
        pubsub_trial("pubsub::dead_letters_wait_for_a_reader", dead_letters_wait_for_a_reader),
        pubsub_trial(
            "pubsub::a_message_that_is_never_settled_is_given_up",
            a_message_that_is_never_settled_is_given_up,
        ),
        pubsub_trial(
            "pubsub::a_handler_that_takes_its_time_keeps_its_message",
            a_handler_that_takes_its_time_keeps_its_message,
        ),
        pubsub_trial(
            "pubsub::a_long_pause_is_waited_for_by_the_server",
            a_long_pause_is_waited_for_by_the_server,
        ),
        pubsub_trial(
            "pubsub::messages_that_fail_hold_up_no_others",
            messages_that_fail_hold_up_no_others,
        ),
        pubsub_trial("pubsub::names_that_are_too_narrow_are_escaped", names_are_escaped),
        pubsub_trial("pubsub::long_metadata_arrives", long_metadata_arrives),
        pubsub_trial("pubsub::long_messages_arrive", long_messages_arrive),
        pubsub_trial(
            "pubsub::others_read_and_write_the_same_messages",
            others_read_and_write_the_same_messages,
        ),
        pubsub_trial(
            "pubsub::a_subscription_of_its_own_is_deleted_and_a_group_stays",
            a_subscription_of_its_own_is_deleted_and_a_group_stays,
        ),
        pubsub_trial(
            "pubsub::more_subscriptions_wait_than_one_connection_takes",
            more_subscriptions_wait_than_one_connection_takes,
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
    let base = format!("pubsub://{PROJECT}?endpoint={}", server.address());
    let broker = open(&base).unwrap();
    assert_eq!(broker.name(), "pubsub");
    let (topic, (sender, mut came)) = (topic(), mpsc::channel(10));
    let take = handler(move |delivery| {
        sender.try_send(delivery.clone()).unwrap();
        Ack::Ack
    });
    let _subscription = broker.subscribe(&topic, SubscribeOptions::default(), take).await.unwrap();
    broker.publish(message(&topic, "1")).await.unwrap();
    assert_eq!(next(&mut came).await.message.body, "1");
    drivers.check().unwrap();
    for wrong in [format!("{base}&topic=x"), format!("pubsub://?endpoint={}", server.address())] {
        // Without a host a URL means this machine, which is a project like any other.
        let opened = open(&wrong).map(drop).map_err(|error| error.code());
        assert_eq!(opened, if wrong.contains("topic") { Err(412) } else { Ok(()) }, "{wrong}");
    }
}

/// Promise 3: a live group is one that has subscribed once.
async fn what_a_group_misses_waits_for_it() {
    let server = shared();
    let (process, topic) = (Process::of(&server), topic());
    let (subscription, _came) = process.listen(&topic, Some("mailer")).await;
    subscription.close();
    for number in 0..100 {
        process.broker.publish(message(&topic, number.to_string())).await.unwrap();
    }
    process.end().await;
    let process = Process::of(&server);
    let (_subscription, mut came) = process.listen(&topic, Some("mailer")).await;
    let mut bodies = std::collections::BTreeSet::new();
    while bodies.len() < 100 {
        bodies.insert(next(&mut came).await.message.body.clone());
    }
    process.end().await;
}

async fn dead_letters_wait_for_a_reader() {
    let server = shared();
    let (process, topic) = (Process::of(&server), topic());
    let (sender, mut came) = mpsc::channel(10);
    let refuse = handler(move |_| {
        sender.try_send(()).unwrap();
        Ack::reject("no such order")
    });
    let options = SubscribeOptions::default().with_queue("q");
    let failing = process.broker.subscribe(&topic, options, refuse).await.unwrap();
    let sent = message(&topic, "7");
    process.broker.publish(sent.clone()).await.unwrap();
    clock::timeout(PATIENCE, came.recv()).await.unwrap().unwrap();
    failing.drain(clock::after(clock::now(), PATIENCE)).await.unwrap();
    // Nobody was subscribed to them when they were published.
    let (_reading, mut letters) = process.listen(&format!("{topic}.dead"), Some("dead")).await;
    let letter = next_letter(&mut letters).await;
    assert_eq!(*letter.message, sent);
    assert_eq!((letter.queue.as_deref(), letter.attempts), (Some("q"), 1));
    assert_eq!(letter.reason, "no such order");
}

/// K4: counted by the server, so that processes that die of a message count, too.
async fn a_message_that_is_never_settled_is_given_up() {
    let server = shared();
    let topic = topic();
    let (sender, mut attempts) = mpsc::channel(100);
    let handler: micro::broker::Handler = Arc::new(move |delivery| {
        sender.try_send(delivery.attempt).unwrap();
        Box::pin(std::future::pending())
    });
    let options = SubscribeOptions::default().with_queue("q");
    let mut process = Process::of(&server);
    let hold = |process: &Process| {
        let (broker, options) = (process.broker.clone(), options.clone());
        let (topic, handler) = (topic.clone(), Arc::clone(&handler));
        async move { broker.subscribe(&topic, options, handler).await.unwrap() }
    };
    let mut holding = hold(&process).await;
    process.broker.publish(message(&topic, "1")).await.unwrap();
    for attempt in 1..=15 {
        let came = clock::timeout(PATIENCE, attempts.recv()).await.unwrap().unwrap();
        assert_eq!(came, attempt);
        holding.close();
        process.end().await;
        process = Process::of(&server);
        holding = hold(&process).await;
    }
    let (_reading, mut letters) = process.listen(&format!("{topic}.dead"), Some("dead")).await;
    let letter = next_letter(&mut letters).await;
    assert_eq!((letter.attempts, &*letter.reason), (16, "not settled in 15 deliveries"));
    assert!(letter.first < letter.last);
    assert!(attempts.try_recv().is_err(), "a handler gets it once more");
}

/// A message is lent for twenty seconds, and again while it is handled.
async fn a_handler_that_takes_its_time_keeps_its_message() {
    let server = shared();
    let (process, other, topic) = (Process::of(&server), Process::of(&server), topic());
    let (sender, mut begun) = mpsc::channel(10);
    let slow: micro::broker::Handler = Arc::new(move |delivery| {
        sender.try_send(delivery.attempt).unwrap();
        Box::pin(async {
            clock::sleep(Duration::from_secs(26)).await;
            Ack::Ack
        })
    });
    let options = SubscribeOptions::default().with_queue("q");
    let subscription = process.broker.subscribe(&topic, options, slow).await.unwrap();
    process.broker.publish(message(&topic, "1")).await.unwrap();
    assert_eq!(clock::timeout(PATIENCE, begun.recv()).await.unwrap(), Some(1));
    let (_other, mut came) = other.listen(&topic, Some("q")).await;
    subscription.drain(clock::after(clock::now(), PATIENCE)).await.unwrap();
    clock::sleep(Duration::from_secs(1)).await;
    assert!(begun.try_recv().is_err() && came.try_recv().is_err(), "it comes twice");
}

async fn a_long_pause_is_waited_for_by_the_server() {
    let server = shared();
    let (process, topic) = (Process::of(&server), topic());
    let (sender, mut came) = mpsc::channel(10);
    let pause = Duration::from_millis(11_500);
    let later = handler(move |delivery| {
        sender.try_send(delivery.clone()).unwrap();
        if delivery.attempt == 1 { Ack::Retry { after: Some(pause) } } else { Ack::Ack }
    });
    let options = SubscribeOptions::default().with_queue("q");
    let _subscription = process.broker.subscribe(&topic, options, later).await.unwrap();
    process.broker.publish(message(&topic, "1")).await.unwrap();
    assert_eq!(next(&mut came).await.attempt, 1);
    let began = clock::now();
    assert_eq!(next(&mut came).await.attempt, 2);
    assert!(clock::now() - began >= pause, "{:?}", clock::now() - began);
}

/// F37.
async fn messages_that_fail_hold_up_no_others() {
    let server = shared();
    let (process, topic) = (Process::of(&server), topic());
    let (sender, mut came) = mpsc::channel(1_000);
    let handler = handler(move |delivery| {
        if delivery.message.body.is_empty() {
            return Ack::Retry { after: Some(Duration::from_secs(9)) };
        }
        sender.try_send(delivery.clone()).unwrap();
        Ack::Ack
    });
    let options = SubscribeOptions::default().with_queue("q");
    let _subscription = process.broker.subscribe(&topic, options, handler).await.unwrap();
    let tracker = tracker();
    let publishing: Vec<_> = (0..200)
        .map(|_| {
            let (broker, failing) = (process.broker.clone(), message(&topic, ""));
            tracker.spawn("publish", async move { broker.publish(failing).await })
        })
        .collect();
    for one in publishing {
        one.await.unwrap().unwrap();
    }
    let began = clock::now();
    process.broker.publish(message(&topic, "1")).await.unwrap();
    next(&mut came).await;
    // Those that fail come again nine seconds after they came, which was before this clock began.
    assert!(clock::now() - began < Duration::from_secs(6), "it waits for those that fail");
}

/// K12.
async fn names_are_escaped() {
    let server = shared();
    let process = Process::of(&server);
    for topic in ["x", "1st.order", "google.x", &"y".repeat(200)] {
        for queue in [None, Some("s\u{f6}uth ~%")] {
            let (subscription, mut came) = process.listen(topic, queue).await;
            process.broker.publish(message(topic, "1")).await.unwrap();
            assert_eq!(next(&mut came).await.message.topic, topic);
            subscription.drain(clock::after(clock::now(), PATIENCE)).await.unwrap();
        }
    }
    let (topic, nothing) = ("z".repeat(200), handler(|_| Ack::Ack));
    let options = SubscribeOptions::default().with_queue("q".repeat(60));
    let refused = process.broker.subscribe(&topic, options, nothing).await.unwrap_err();
    assert_eq!((refused.code(), refused.retry()), (400, Retry::Never), "{refused}");
}

async fn long_metadata_arrives() {
    let server = shared();
    let (process, topic) = (Process::of(&server), topic());
    let (_subscription, mut came) = process.listen(&topic, None).await;
    let mut metadata = Metadata::new();
    for n in 0..60 {
        metadata.insert(format!("key-{n}"), "v".repeat(64)).unwrap();
    }
    metadata.insert("long", "\u{20ac}".repeat(2_000)).unwrap();
    metadata.insert("goog-key", "reserved").unwrap();
    let sent = message(&topic, "1").with_metadata(metadata);
    process.broker.publish(sent.clone()).await.unwrap();
    assert_eq!(*next(&mut came).await.message, sent);
}

/// One answer has several messages, and is read only up to a length.
async fn long_messages_arrive() {
    let server = shared();
    let (process, topic) = (Process::of(&server), topic());
    let (sender, mut came) = mpsc::channel(1_000);
    let take = handler(move |delivery| {
        sender.try_send(delivery.message.id.clone()).unwrap();
        Ack::Ack
    });
    let many = NonZeroUsize::new(64).unwrap();
    let options = || SubscribeOptions::default().with_queue("q").with_concurrency(many);
    process.broker.subscribe(&topic, options(), handler(|_| Ack::Ack)).await.unwrap().close();
    let body = bytes::Bytes::from(vec![7; 3 * 1024 * 1024]);
    let mut missing = std::collections::HashSet::new();
    for _ in 0..16 {
        let message = message(&topic, body.clone());
        missing.insert(message.id.clone());
        process.broker.publish(message).await.unwrap();
    }
    let _subscription = process.broker.subscribe(&topic, options(), take).await.unwrap();
    while !missing.is_empty() {
        missing.remove(&clock::timeout(PATIENCE, came.recv()).await.unwrap().unwrap());
    }
}

/// Google's own client.
async fn bare_subscription(server: &Server, topic: &str, id: &str) -> Subscriber {
    let name = format!("projects/{PROJECT}/topics/{topic}");
    let topics = TopicAdmin::builder().with_endpoint(url(server)).with_credentials(nobody());
    // The broker may have made it.
    drop(topics.build().await.unwrap().create_topic().set_name(&name).send().await);
    let subscriptions =
        SubscriptionAdmin::builder().with_endpoint(url(server)).with_credentials(nobody());
    let subscription = format!("projects/{PROJECT}/subscriptions/{id}");
    let create = subscriptions.build().await.unwrap().create_subscription();
    create.set_name(subscription).set_topic(name).send().await.unwrap();
    let subscriber = Subscriber::builder().with_endpoint(url(server)).with_credentials(nobody());
    subscriber.build().await.unwrap()
}

async fn others_read_and_write_the_same_messages() {
    let server = shared();
    let (process, topic) = (Process::of(&server), topic());
    let (_subscription, mut came) = process.listen(&topic, None).await;
    let subscriber = bare_subscription(&server, &topic, &format!("{topic}-bare")).await;
    let mut metadata = Metadata::new();
    metadata.insert("tenant", "acme").unwrap();
    let sent = message(&topic, "{}").with_metadata(metadata);
    process.broker.publish(sent.clone()).await.unwrap();
    assert_eq!(*next(&mut came).await.message, sent);

    let mut stream =
        subscriber.subscribe(format!("projects/{PROJECT}/subscriptions/{topic}-bare")).build();
    let (read, settle) = clock::timeout(PATIENCE, stream.next()).await.unwrap().unwrap().unwrap();
    settle.ack();
    assert_eq!(read.data, "{}");
    assert_eq!(read.attributes["micro-message-id"], sent.id);
    assert_eq!(read.attributes["content-type"], "application/json");
    assert_eq!(read.attributes["tenant"], "acme");
    assert_eq!(read.attributes.len(), 3);

    let name = format!("projects/{PROJECT}/topics/{topic}");
    let publisher = Publisher::builder(name).with_endpoint(url(&server)).with_credentials(nobody());
    let publisher = publisher.build().await.unwrap();
    let id = publisher.publish(Bare::new().set_data("[]").set_attributes([("Tenant", "acme")]));
    let id = id.await.unwrap();
    let came = next(&mut came).await.message;
    assert_eq!((&*came.body, &came.content_type), (&b"[]"[..], &ContentType::Json));
    assert_eq!(came.id, id);
    assert_eq!(came.metadata.iter().collect::<Vec<_>>(), [("tenant", "acme")]);
}

async fn a_subscription_of_its_own_is_deleted_and_a_group_stays() {
    let server = shared();
    let (process, topic) = (Process::of(&server), topic());
    let admin = TopicAdmin::builder().with_endpoint(url(&server)).with_credentials(nobody());
    let admin = admin.build().await.unwrap();
    let listed = async || {
        let name = format!("projects/{PROJECT}/topics/{topic}");
        admin.list_topic_subscriptions().set_topic(name).send().await.unwrap().subscriptions
    };
    let (own, _came) = process.listen(&topic, None).await;
    let (group, _came) = process.listen(&topic, Some("q")).await;
    let (dropped, _came) = process.listen(&topic, None).await;
    assert_eq!(listed().await.len(), 3);
    own.drain(clock::after(clock::now(), PATIENCE)).await.unwrap();
    dropped.close();
    group.drain(clock::after(clock::now(), PATIENCE)).await.unwrap();
    process.end().await;
    assert_eq!(listed().await, [format!("projects/{PROJECT}/subscriptions/{topic}~q")]);
}

/// Those that wait hold up neither each other nor what is published and settled.
async fn more_subscriptions_wait_than_one_connection_takes() {
    let server = shared();
    let (process, topic) = (Process::of(&server), topic());
    let arrived = Arc::new(Semaphore::new(0));
    let mut subscriptions = Vec::new();
    for n in 0..120 {
        let arrived = Arc::clone(&arrived);
        let take = handler(move |_| {
            arrived.add_permits(1);
            Ack::Ack
        });
        let options = SubscribeOptions::default().with_queue(n.to_string());
        subscriptions.push(process.broker.subscribe(&topic, options, take).await.unwrap());
    }
    process.broker.publish(message(&topic, "1")).await.unwrap();
    let all = clock::timeout(PATIENCE, arrived.acquire_many(120)).await;
    assert!(all.is_ok(), "{} of 120 get it", arrived.available_permits());
    process.end().await;
}
