//! What sends anything but the protocol is refused, and nothing else happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, NsqConfig, SubscribeOptions};
use micro::core::clock;
use micro::core::error::Retry;
use micro::core::shutdown::TaskTracker;
use micro_tests::server::trial_alone;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::nsqd::{Nsqd, Options, frame};
use super::{Process, group, handler, inbox, next_body, server, until};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial_alone("nsq::garbage_is_refused_before_it_is_spoken_to", garbage_at_first),
        trial_alone("nsq::garbage_amid_messages_ends_the_connection_alone", garbage_amid_messages),
        trial_alone("nsq::an_nsqd_that_asks_for_more_is_said", an_nsqd_that_asks_for_more_is_said),
    ]
}

/// Listens, answers whatever comes first with some bytes, and each command after with others.
/// Returns its port, and counts the connections to it.
async fn liar(first: Vec<u8>, then: Vec<u8>, tasks: &TaskTracker) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (first, then, clients) = (Arc::new(first), Arc::new(then), tasks.clone());
    let accepted = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&accepted);
    let serving = async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, SeqCst);
            let (first, then) = (Arc::clone(&first), Arc::clone(&then));
            let lying = async move {
                let (mut buffer, mut answer) = ([0; 4096], first);
                while matches!(stream.read(&mut buffer).await, Ok(count) if count > 0) {
                    if stream.write_all(&answer).await.is_err() {
                        return;
                    }
                    answer = Arc::clone(&then);
                }
            };
            clients.spawn("liar.client", lying).detach();
        }
    };
    tasks.spawn("liar", serving).detach();
    (port, accepted)
}

/// Bytes that are no frame, or none that may come.
fn lies() -> Vec<Vec<u8>> {
    let head = [&[0; 8][..], b"\0\x01", b"0123456789abcdef"].concat();
    vec![
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        b"\xff\xff\xff\xff\0\0\0\0".to_vec(),
        b"\x7f\xff\xff\xff\0\0\0\x02".to_vec(),
        b"\0\0\0\0".to_vec(),
        b"\0\0\0\x03\0\0\0\0".to_vec(),
        b"\0\0\0\x06\0\0\0\x07OK".to_vec(),
        b"\0\x10\0\0\0\0\0\x01".to_vec(),
        frame(1, b"E_INVALID \xff\n"),
        frame(2, b"short"),
        frame(2, &[&head[..10], b"SUB t c\nSUB t c\n", b"body"].concat()),
    ]
}

async fn garbage_at_first() {
    let tasks = TaskTracker::new();
    let good = Nsqd::start(Options::default()).await;
    let mut ports = Vec::new();
    for lie in lies() {
        ports.push(liar(lie, Vec::new(), &tasks).await.0);
    }
    // Each by itself takes nothing.
    for port in &ports {
        let process = Process::new(&server(&[*port]), &NsqConfig::default());
        let nothing = handler(|_| Ack::Ack);
        let refused = process.broker.subscribe("t", SubscribeOptions::default(), nothing).await;
        let refused = refused.map(drop).unwrap_err();
        assert_eq!((refused.code(), refused.retry()), (503, Retry::Safe), "{refused}");
        process.scope.tasks.abort_all();
    }
    // All together leave the one that is good to be used.
    ports.push(good.port());
    let (process, (take, mut came)) =
        (Process::new(&server(&ports), &NsqConfig::default()), inbox());
    process.up().await;
    let _group = process.broker.subscribe("t", group("q", 2), take).await.unwrap();
    process.publish("t", "1").await;
    assert_eq!(next_body(&mut came).await, "1");
    process.end().await;
    tasks.abort_all();
}

async fn garbage_amid_messages() {
    let ok = frame(0, b"OK");
    let mut lies = lies();
    // More than was asked for, and messages where only answers come.
    let document = br#"{"Header":{},"Body":"e30="}"#;
    let one = frame(2, &[&[0; 8][..], b"\0\x01", b"0123456789abcdef", document].concat());
    lies.push(one.repeat(100));
    for lie in lies {
        let tasks = TaskTracker::new();
        let (port, accepted) = liar(ok.clone(), [ok.clone(), lie].concat(), &tasks).await;
        let process = Process::new(&server(&[port]), &NsqConfig::default());
        process.up().await;
        // Confirmed by the answer that precedes the lie, which ends the connection.
        process.publish("t", "1").await;
        until("it is published to again", || accepted.load(SeqCst) >= 2).await;
        let (had, runs) = (accepted.load(SeqCst), Arc::<AtomicUsize>::default());
        let count = Arc::clone(&runs);
        let slow: micro::broker::Handler = Arc::new(move |_| {
            count.fetch_add(1, SeqCst);
            Box::pin(std::future::pending())
        });
        let subscribed = process.broker.subscribe("t", group("q", 1), slow).await.unwrap();
        until("it is subscribed at again", || accepted.load(SeqCst) >= had + 3).await;
        assert!(runs.load(SeqCst) <= 1, "more than one handler runs");
        drop(subscribed);
        process.up().await;
        process.end().await;
        tasks.abort_all();
    }
}

async fn an_nsqd_that_asks_for_more_is_said() {
    let nsqd = Nsqd::start(Options { auth_required: true, ..Options::default() }).await;
    let process = Process::of(&nsqd);
    let nothing = handler(|_| Ack::Ack);
    let refused = process.broker.subscribe("t", SubscribeOptions::default(), nothing).await;
    let refused = refused.map(drop).unwrap_err();
    assert!(refused.detail().contains("AUTH"), "{refused}");
    // One that takes a connection and never answers is given up in time.
    let tasks = TaskTracker::new();
    let (mute, _) = liar(Vec::new(), Vec::new(), &tasks).await;
    let process = Process::new(&server(&[mute]), &NsqConfig::default());
    let began = clock::now();
    let refused = process.broker.subscribe("t", group("q", 1), handler(|_| Ack::Ack)).await;
    assert_eq!(refused.map(drop).unwrap_err().code(), 503);
    assert!(clock::now() - began < Duration::from_secs(10));
    until("nothing is left of it", || !process.scope.tasks.names().contains_key("broker.nsq"))
        .await;
    process.end().await;
    tasks.abort_all();
}
