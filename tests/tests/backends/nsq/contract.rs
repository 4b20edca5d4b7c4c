//! What the broker promises of an nsqd that runs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, DeadLetter, Handler, Message, NsqConfig, SubscribeOptions};
use micro::core::clock;
use micro::core::content_type::ContentType;
use micro::core::error::Retry;
use micro::core::metadata::Metadata;
use micro::core::shutdown::TaskTracker;
use micro::driver::Drivers;
use micro::registry;
use micro::service::open;
use micro::testkit::broker::{Pair, conforms};
use micro::transport::{self, Scope};
use micro_tests::server::trial_alone;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::nsqd::{Counting, Nsqd, Options};
use super::{PATIENCE, Process, group, handler, inbox, message, next, next_body, server, until};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial_alone("nsq::the_broker_conforms", || the_broker_conforms(Counting::Down)),
        trial_alone("nsq::the_broker_conforms_where_rdy_is_a_window", || {
            the_broker_conforms(Counting::InFlight)
        }),
        trial_alone("nsq::a_url_opens_a_broker", a_url_opens_a_broker),
        trial_alone("nsq::what_a_group_misses_waits_for_it", what_a_group_misses_waits_for_it),
        trial_alone("nsq::dead_letters_wait_for_a_reader", dead_letters_wait_for_a_reader),
        trial_alone("nsq::what_is_no_message_goes_to_the_dead_letters", what_is_no_message),
        trial_alone(
            "nsq::the_longest_message_has_a_dead_letter",
            the_longest_message_has_a_dead_letter,
        ),
        trial_alone(
            "nsq::what_no_dead_letter_holds_is_not_lost",
            what_no_dead_letter_holds_is_not_lost,
        ),
        trial_alone("nsq::others_read_and_write_the_same_messages", others_read_and_write),
        trial_alone("nsq::a_slow_handler_keeps_its_message", a_slow_handler_keeps_its_message),
        trial_alone("nsq::a_message_that_waits_here_is_kept", a_message_that_waits_here_is_kept),
        trial_alone(
            "nsq::a_handler_that_never_decides_is_given_up",
            a_handler_that_never_decides_is_given_up,
        ),
        trial_alone("nsq::what_nsqd_would_refuse_is_not_sent", what_nsqd_would_refuse_is_not_sent),
        trial_alone("nsq::messages_published_together_go_together", published_together),
        trial_alone("nsq::draining_settles_what_is_held", draining_settles_what_is_held),
        trial_alone("nsq::heartbeats_are_answered", heartbeats_are_answered),
        trial_alone("nsq::several_nsqds_share_the_work", several_nsqds_share_the_work),
    ]
}

/// K1 to K13, between two processes.
async fn the_broker_conforms(counting: Counting) {
    let nsqd = Nsqd::start(Options { counting, ..Options::default() }).await;
    conforms(&|| {
        let (first, second) = (Process::of(&nsqd), Process::of(&nsqd));
        Box::pin(async move {
            first.up().await;
            second.up().await;
            let pair = Pair::new(Arc::new(first.broker), Arc::new(second.broker));
            Arc::new(pair) as Arc<dyn Broker>
        })
    })
    .await;
    assert_eq!((nsqd.seen("E_INVALID"), nsqd.dropped(), nsqd.timeouts()), (0, 0, 0));
}

async fn a_url_opens_a_broker() {
    let nsqd = Nsqd::start(Options::default()).await;
    let registry: Arc<dyn registry::Registry> = Arc::new(registry::Memory::new());
    let transport: Arc<dyn transport::Transport> = Arc::new(transport::Memory::default());
    let (scope, drivers) = (Scope::default(), Drivers::default());
    let open = |url: &str| open::broker(url, &registry, &transport, &scope, &drivers);
    let base = format!("nsq://127.0.0.1:{}", nsqd.port());
    let broker = open(&base).unwrap();
    let (take, mut came) = inbox();
    let _subscription = broker.subscribe("t", SubscribeOptions::default(), take).await.unwrap();
    broker.publish(message("t", "1")).await.unwrap();
    assert_eq!(next_body(&mut came).await, "1");
    // Readiness follows the connection.
    drivers.check().unwrap();
    assert_eq!(open(&format!("{base}?channel=c")).map(drop).unwrap_err().code(), 412);
    let away = open("nsq://127.0.0.1:1").unwrap();
    assert!(drivers.check().unwrap_err().detail().contains("nsq at 127.0.0.1:1"));
    let refused = away.subscribe("t", SubscribeOptions::default(), handler(|_| Ack::Ack)).await;
    let refused = refused.map(drop).unwrap_err();
    assert_eq!((refused.code(), refused.retry()), (503, Retry::Safe), "{refused}");
}

/// Promise 3: a live group is one that has subscribed once.
async fn what_a_group_misses_waits_for_it() {
    let nsqd = Nsqd::start(Options::default()).await;
    let process = Process::of(&nsqd);
    let nothing = handler(|_| Ack::Ack);
    process.broker.subscribe("t", group("mailer", 1), nothing).await.unwrap().close();
    for number in 0..100 {
        process.publish("t", &number.to_string()).await;
    }
    process.end().await;
    let (process, (take, mut came)) = (Process::of(&nsqd), inbox());
    let _subscription = process.broker.subscribe("t", group("mailer", 1), take).await.unwrap();
    let mut bodies = BTreeSet::new();
    for _ in 0..100 {
        bodies.insert(next_body(&mut came).await);
    }
    assert_eq!(bodies.len(), 100);
    until("all are finished", || nsqd.depth("t", "mailer") == 0).await;
}

async fn dead_letters_wait_for_a_reader() {
    let nsqd = Nsqd::start(Options::default()).await;
    let process = Process::of(&nsqd);
    let refuse = handler(|_| Ack::reject("no such order"));
    let _failing = process.broker.subscribe("t", group("q", 1), refuse).await.unwrap();
    let sent = message("t", "7");
    process.broker.publish(sent.clone()).await.unwrap();
    until("it is given up", || nsqd.depth("t.dead", "any") == 1).await;
    until("it is finished after that", || nsqd.depth("t", "q") == 0).await;
    let (take, mut came) = inbox();
    let _reader = process.broker.subscribe("t.dead", group("r", 1), take).await.unwrap();
    let letter = DeadLetter::from_message(&next(&mut came).await.message).unwrap();
    assert_eq!((*letter.message == sent, letter.attempts), (true, 1));
    // A dead letter that fails is not one again.
    let refuse = handler(|_| Ack::reject("no"));
    let _other = process.broker.subscribe("t.dead", group("s", 1), refuse).await.unwrap();
    process.publish("t", "8").await;
    next(&mut came).await;
    until("both groups are done", || nsqd.depth("t.dead", "r") + nsqd.depth("t.dead", "s") == 0)
        .await;
    process.end().await;
}

/// Publishes bytes as another client does.
pub(super) async fn publish_raw(nsqd: &Nsqd, topic: &str, body: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", nsqd.port())).await.unwrap();
    let size = u32::try_from(body.len()).unwrap().to_be_bytes();
    let sent = [b"  V2PUB ", topic.as_bytes(), b"\n", &size, body].concat();
    stream.write_all(&sent).await.unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"\0\0\0\x06\0\0\0\0OK");
}

/// K13.
async fn what_is_no_message() {
    let nsqd = Nsqd::start(Options::default()).await;
    let (process, (take, mut came), (dead, mut letters)) = (Process::of(&nsqd), inbox(), inbox());
    let _group = process.broker.subscribe("t", group("q", 1), take).await.unwrap();
    let _dead = process.broker.subscribe("t.dead", group("q", 1), dead).await.unwrap();
    for garbage in [&b"\xff\xfe"[..], b"[]", b"{\"Body\":\"?\"}", b"7"] {
        publish_raw(&nsqd, "t", garbage).await;
        let letter = DeadLetter::from_message(&next(&mut letters).await.message).unwrap();
        assert_eq!((&letter.message.body[..], letter.message.id.len()), (garbage, 16));
        assert!(!letter.reason.is_empty());
    }
    process.publish("t", "1").await;
    assert_eq!(next_body(&mut came).await, "1");
    process.end().await;
}

async fn the_longest_message_has_a_dead_letter() {
    let nsqd = Nsqd::start(Options::default()).await;
    let (process, (dead, mut letters)) = (Process::of(&nsqd), inbox());
    // Metadata as full as it may be, and a reason that takes twice its length.
    let mut sent = message("t", "");
    for number in 0..63 {
        sent.metadata.insert(format!("key-{number}"), "x".repeat(240)).unwrap();
    }
    let (mut room, topic) = (600_000, std::mem::replace(&mut sent.topic, "probe".into()));
    for step in [100_000, 10_000, 1_000, 100, 10] {
        // As long as it gets.
        loop {
            sent.body = vec![7; room + step].into();
            if process.broker.publish(sent.clone()).await.is_err() {
                break;
            }
            room += step;
        }
    }
    (sent.topic, sent.body) = (topic, vec![7; room].into());
    let refuse = handler(|_| Ack::reject("\"\\".repeat(10_000)));
    let _failing = process.broker.subscribe("t", group(&"q".repeat(64), 1), refuse).await.unwrap();
    let _dead = process.broker.subscribe("t.dead", group("q", 1), dead).await.unwrap();
    process.broker.publish(sent.clone()).await.unwrap();
    let letter = DeadLetter::from_message(&next(&mut letters).await.message).unwrap();
    assert_eq!((letter.message.body == sent.body, room > 700_000), (true, true), "{room}");
    process.end().await;
}

async fn what_no_dead_letter_holds_is_not_lost() {
    let nsqd = Nsqd::start(Options::default()).await;
    let (process, (take, _came)) = (Process::of(&nsqd), inbox());
    let _group = process.broker.subscribe("t", group("q", 1), take).await.unwrap();
    // No message, and with what a dead letter makes of it longer than nsqd takes.
    publish_raw(&nsqd, "t", &vec![0xff; 1_000_000]).await;
    until("it is given back", || nsqd.seen("REQ") == 1).await;
    assert_eq!((nsqd.depth("t", "q"), nsqd.seen("FIN"), nsqd.seen("E_BAD_MESSAGE")), (1, 0, 0));
    // It holds up nothing.
    let sent = message("t", "1");
    process.broker.publish(sent).await.unwrap();
    until("others are handled", || nsqd.seen("FIN") == 1).await;
    process.end().await;
}

/// go-micro's message, both ways.
async fn others_read_and_write() {
    let nsqd = Nsqd::start(Options::default()).await;
    let (process, (take, mut came)) = (Process::of(&nsqd), inbox());
    let _group = process.broker.subscribe("events", group("q", 1), take).await.unwrap();
    let document =
        br#"{"Header":{"Content-Type":"application/json","Foo-Bar":"baz"},"Body":"e30="}"#;
    publish_raw(&nsqd, "events", document).await;
    let read = next(&mut came).await.message;
    assert_eq!((&read.body[..], &read.content_type), (&b"{}"[..], &ContentType::Json));
    assert_eq!((read.topic.as_str(), read.metadata.get("foo-bar")), ("events", Some("baz")));
    assert!(read.id.bytes().all(|byte| byte.is_ascii_hexdigit()) && read.id.len() == 16);

    let mut stream = TcpStream::connect(("127.0.0.1", nsqd.port())).await.unwrap();
    stream.write_all(b"  V2SUB events go\nRDY 1\n").await.unwrap();
    stream.read_exact(&mut [0; 10]).await.unwrap();
    let mut metadata = Metadata::new();
    metadata.insert("foo-bar", "baz").unwrap();
    let sent = Message::new("events", ContentType::Json, "{}".into()).with_metadata(metadata);
    process.broker.publish(sent.clone()).await.unwrap();
    let mut head = [0; 34];
    stream.read_exact(&mut head).await.unwrap();
    let size = u32::from_be_bytes(head[..4].try_into().unwrap());
    let mut body = vec![0; usize::try_from(size).unwrap() - 30];
    stream.read_exact(&mut body).await.unwrap();
    let read: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(read["Body"], "e30=");
    let header = &read["Header"];
    assert_eq!((&header["Foo-Bar"], &header["Micro-Topic"]), (&"baz".into(), &"events".into()));
    assert_eq!(
        (&header["Micro-Id"], &header["Content-Type"]),
        (&sent.id.into(), &"application/json".into())
    );
    process.end().await;
}

/// How long a message may be with a client: long enough for a machine that is busy.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Makes a handler that takes a while, and counts its runs.
pub(super) fn slow(pause: Duration, runs: &Arc<AtomicUsize>) -> Handler {
    let runs = Arc::clone(runs);
    Arc::new(move |_| {
        runs.fetch_add(1, SeqCst);
        Box::pin(async move {
            clock::sleep(pause).await;
            Ack::Ack
        })
    })
}

async fn a_slow_handler_keeps_its_message() {
    let options = Options { forced_msg_timeout: Some(TIMEOUT), ..Options::default() };
    let nsqd = Nsqd::start(options).await;
    let (process, runs) = (Process::of(&nsqd), Arc::default());
    let slow = slow(TIMEOUT * 2, &runs);
    let _one = process.broker.subscribe("t", group("q", 1), slow.clone()).await.unwrap();
    let _two = process.broker.subscribe("t", group("q", 1), slow).await.unwrap();
    process.publish("t", "1").await;
    until("it is finished", || nsqd.seen("FIN") == 1).await;
    assert_eq!((runs.load(SeqCst), nsqd.timeouts(), nsqd.seen("E_FIN_FAILED")), (1, 0, 0));
    assert!(nsqd.seen("TOUCH") >= 2, "{}", nsqd.seen("TOUCH"));
    process.end().await;
}

/// With an nsqd that counts down, messages wait here for a handler: nsqd has to know.
async fn a_message_that_waits_here_is_kept() {
    let options = Options { forced_msg_timeout: Some(TIMEOUT), ..Options::default() };
    let nsqd = Nsqd::start(options).await;
    let (process, runs) = (Process::of(&nsqd), Arc::default());
    let slow = slow(TIMEOUT * 3 / 4, &runs);
    let _group = process.broker.subscribe("t", group("q", 4), slow).await.unwrap();
    for number in 0..12 {
        process.publish("t", &number.to_string()).await;
    }
    until("all are finished", || nsqd.seen("FIN") == 12).await;
    assert_eq!((runs.load(SeqCst), nsqd.timeouts()), (12, 0));
    process.end().await;
}

/// Deliveries that were cut count: what takes its process with it is given up in the end.
async fn a_handler_that_never_decides_is_given_up() {
    let nsqd = Nsqd::start(Options::default()).await;
    let (dead, mut letters) = inbox();
    let reader = Process::of(&nsqd);
    let _dead = reader.broker.subscribe("t.dead", group("q", 1), dead).await.unwrap();
    reader.publish("t", "7").await;
    let begun = Arc::new(Semaphore::new(0));
    for _ in 0..5 {
        let (process, signal) = (Process::of(&nsqd), Arc::clone(&begun));
        let hang: Handler = Arc::new(move |_| {
            signal.add_permits(1);
            Box::pin(std::future::pending())
        });
        let hanging = process.broker.subscribe("t", group("q", 1), hang).await.unwrap();
        begun.acquire().await.unwrap().forget();
        hanging.close();
        until("it is back", || nsqd.depth("t", "q") == 1).await;
    }
    let (take, mut came) = inbox();
    let _last = reader.broker.subscribe("t", group("q", 1), take).await.unwrap();
    let letter = DeadLetter::from_message(&next(&mut letters).await.message).unwrap();
    assert_eq!((letter.attempts, letter.queue.as_deref()), (5, Some("q")));
    assert!(came.try_recv().is_err(), "it is handled a sixth time");
    assert_eq!(nsqd.timeouts(), 0, "it is not given back");
    reader.end().await;
}

async fn what_nsqd_would_refuse_is_not_sent() {
    let nsqd = Nsqd::start(Options { max_msg_size: 20_000, ..Options::default() }).await;
    let config = NsqConfig::default().with_message_bytes_max(20_000);
    let process = Process::new(&server(&[nsqd.port()]), &config);
    process.up().await;
    let refuse = |topic: &str, body: usize| {
        let publishing = process.broker.publish(message(topic, vec![7; body]));
        async move { publishing.await.map_err(|error| error.code()) }
    };
    // A quarter is kept for what its dead letter says.
    assert_eq!(refuse("t", 11_000).await, Ok(()));
    for body in [11_300, 14_000, 20_000, 200_000] {
        assert_eq!(refuse("t", body).await, Err(413), "{body}");
    }
    let long = "x".repeat(60);
    assert_eq!(refuse(&long, 1).await, Err(400));
    let nothing = || handler(|_| Ack::Ack);
    for (topic, queue) in [(long.as_str(), "q"), ("t", "a b"), ("t", ""), ("t", "x#ephemeral")] {
        let refused = process.broker.subscribe(topic, group(queue, 1), nothing()).await;
        assert_eq!(refused.map(drop).unwrap_err().code(), 400, "{topic} {queue}");
    }
    // One that is configured wrongly is told, and its connection made again.
    let wrong = Process::of(&nsqd);
    wrong.up().await;
    let refused = wrong.broker.publish(message("t", vec![7; 30_000])).await.unwrap_err();
    assert_eq!((refused.code(), refused.retry()), (413, Retry::Never), "{refused}");
    wrong.publish("t", "1").await;
    assert_eq!((nsqd.seen("E_BAD_MESSAGE"), nsqd.seen("E_INVALID")), (1, 0));
    wrong.end().await;
    process.end().await;
}

async fn published_together() {
    let nsqd = Nsqd::start(Options::default()).await;
    let (process, (take, mut came)) = (Process::of(&nsqd), inbox());
    let _group = process.broker.subscribe("t", group("q", 64), take).await.unwrap();
    process.up().await;
    let tasks = TaskTracker::new();
    let publishing: Vec<_> = (0..1_000)
        .map(|number| {
            let broker = process.broker.clone();
            tasks.spawn(
                "publish",
                async move { broker.publish(message("t", number.to_string())).await },
            )
        })
        .collect();
    for one in publishing {
        one.await.unwrap().unwrap();
    }
    let mut bodies = BTreeSet::new();
    for _ in 0..1_000 {
        bodies.insert(next_body(&mut came).await);
    }
    assert_eq!(bodies.len(), 1_000);
    assert!(nsqd.seen("MPUB") > 0 && nsqd.seen("MPUB") + nsqd.seen("PUB") < 1_000);
    process.end().await;
}

/// K11.
async fn draining_settles_what_is_held() {
    let nsqd = Nsqd::start(Options::default()).await;
    let (process, runs) = (Process::of(&nsqd), Arc::<AtomicUsize>::default());
    let slow = slow(Duration::from_millis(300), &runs);
    let subscription = process.broker.subscribe("t", group("q", 8), slow).await.unwrap();
    for number in 0..100 {
        process.publish("t", &number.to_string()).await;
    }
    until("handlers run", || runs.load(SeqCst) >= 8).await;
    subscription.drain(clock::after(clock::now(), PATIENCE)).await.unwrap();
    let done = runs.load(SeqCst);
    assert_eq!((nsqd.seen("FIN"), nsqd.depth("t", "q"), nsqd.seen("CLS")), (done, 100 - done, 1));
    // What was not held comes for the first time, and what was does not come again.
    let (take, mut came) = inbox();
    let _next = process.broker.subscribe("t", group("q", 8), take).await.unwrap();
    for _ in done..100 {
        assert_eq!(next(&mut came).await.attempt, 1);
    }
    until("all are finished", || nsqd.depth("t", "q") == 0).await;
    process.end().await;
    until("no channel of its own is left", || nsqd.channels("t") == ["q"]).await;
}

async fn heartbeats_are_answered() {
    // Long enough for a machine that is busy.
    let forced_heartbeat = Some(Duration::from_secs(1));
    let nsqd = Nsqd::start(Options { forced_heartbeat, ..Options::default() }).await;
    let (process, (take, mut came)) = (Process::of(&nsqd), inbox());
    let _group = process.broker.subscribe("t", group("q", 1), take).await.unwrap();
    process.up().await;
    clock::sleep(Duration::from_secs(5)).await;
    assert_eq!(nsqd.dropped(), 0);
    process.publish("t", "1").await;
    assert_eq!(next_body(&mut came).await, "1");
    process.end().await;
}

async fn several_nsqds_share_the_work() {
    let (one, two) = (Nsqd::start(Options::default()).await, Nsqd::start(Options::default()).await);
    let process = Process::new(&server(&[one.port(), two.port()]), &NsqConfig::default());
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let count: Handler = {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        Arc::new(move |_| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            Box::pin(async move {
                most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                clock::sleep(Duration::from_millis(20)).await;
                running.fetch_sub(1, SeqCst);
                Ack::Ack
            })
        })
    };
    let _group = process.broker.subscribe("t", group("q", 3), count).await.unwrap();
    until("both are there", || one.channels("t") == ["q"] && two.channels("t") == ["q"]).await;
    process.up().await;
    for number in 0..60 {
        process.publish("t", &number.to_string()).await;
    }
    until("all are finished", || one.seen("FIN") + two.seen("FIN") == 60).await;
    assert!(one.seen("FIN") >= 20 && two.seen("FIN") >= 20, "one has them all");
    assert_eq!(most.load(SeqCst), 3, "most handlers at a time");
    process.end().await;
}
