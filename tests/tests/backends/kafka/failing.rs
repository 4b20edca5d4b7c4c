//! What becomes of events when the servers fail.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use micro::broker::{Broker, KafkaConfig, SubscribeOptions};
use micro::core::clock;
use micro::core::error::Retry;
use micro_tests::server::{free_port, trial_alone};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::within;
use super::{Process, cluster, collect, is_long, is_quiet, message, next, number, queue, topic};

/// What is asked of servers that are away has failed by then: two seconds, and some for a machine
/// that is busy.
const FAILS_WITHIN: Duration = Duration::from_secs(6);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial_alone("kafka::absent_servers_are_used_once_they_are_there", absent),
        trial_alone("kafka::an_address_where_nobody_listens_is_used_once_somebody_does", nobody),
        trial_alone("kafka::what_is_published_while_all_servers_are_down_fails_in_time", down),
        trial_alone("kafka::nothing_acknowledged_is_lost_when_servers_go_and_come", go_and_come),
        trial_alone("kafka::refusals_that_pass_are_tried_again", refusals_pass),
        trial_alone("kafka::a_client_that_fails_for_good_is_replaced", replaced),
        trial_alone("kafka::a_topic_that_cannot_be_looked_at_fails_in_time", no_topic),
    ]
}

/// Publishes a message as often as it takes.
async fn publish(process: &Process, topic: &str, number: usize) {
    let message = message(topic, number);
    let published = async {
        while let Err(error) = process.broker.publish(message.clone()).await {
            assert_ne!(error.retry(), Retry::Never, "{error}");
        }
    };
    within(published).await;
}

async fn fails_in_time(process: &Process, topic: &str) {
    let began = Instant::now();
    let error = process.broker.publish(message(topic, 1)).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Safe), "{error}");
    assert!(began.elapsed() < FAILS_WITHIN, "{:?}", began.elapsed());
}

async fn absent() {
    let cluster = cluster(1);
    cluster.broker_down(1).unwrap();
    let process = Process::of(&cluster);
    let topic = topic();
    fails_in_time(&process, &topic).await;
    process.is_up(false).await;
    let broker = Arc::clone(&process.broker);
    let subscribing = {
        let topic = topic.clone();
        tokio::spawn(async move { collect(&broker, &topic, &queue("q", 1)).await })
    };
    clock::sleep(Duration::from_secs(1)).await;
    cluster.broker_up(1).unwrap();
    let (_subscription, mut came) = within(subscribing).await.unwrap();
    process.is_up(true).await;
    publish(&process, &topic, 2).await;
    assert_eq!(number(&next(&mut came).await), 2);
    is_quiet(&mut came).await;
}

/// Carries connections from a port to a server.
async fn relay(from: u16, to: SocketAddr) {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, from)).await.unwrap();
    while let Ok((mut near, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut far = tokio::net::TcpStream::connect(to).await.unwrap();
            let _ended = tokio::io::copy_bidirectional(&mut near, &mut far).await.is_err();
        });
    }
}

async fn nobody() {
    let port = free_port();
    let limits = &super::Limits::DEFAULT;
    let process = Process::new(&format!("127.0.0.1:{port}"), KafkaConfig::default(), limits);
    let topic = topic();
    fails_in_time(&process, &topic).await;
    let cluster = cluster(1);
    let servers = cluster.bootstrap_servers();
    let relaying = tokio::spawn(relay(port, servers.parse().unwrap()));
    let (_subscription, mut came) =
        collect(&process.broker, &topic, &SubscribeOptions::default()).await;
    publish(&process, &topic, 2).await;
    assert_eq!(number(&next(&mut came).await), 2);
    relaying.abort();
}

async fn down() {
    let cluster = cluster(1);
    let process = Process::of(&cluster);
    let topic = topic();
    let (_subscription, mut came) = collect(&process.broker, &topic, &queue("q", 1)).await;
    publish(&process, &topic, 1).await;
    next(&mut came).await;
    cluster.broker_down(1).unwrap();
    process.is_up(false).await;
    fails_in_time(&process, &topic).await;
    let began = Instant::now();
    let other = "another-topic";
    let options = SubscribeOptions::default();
    let handler: micro::broker::Handler = Arc::new(|_| Box::pin(async { micro::broker::Ack::Ack }));
    let error = process.broker.subscribe(other, options, handler).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Safe), "{error}");
    assert!(began.elapsed() < FAILS_WITHIN, "{:?}", began.elapsed());
    cluster.broker_up(1).unwrap();
    publish(&process, &topic, 2).await;
    assert_eq!(number(&next(&mut came).await), 2);
    // A broker that is closed while its servers are away does not wait for them.
    cluster.broker_down(1).unwrap();
    let began = Instant::now();
    let _cut = process.broker.close(clock::after(clock::now(), Duration::from_secs(5))).await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    cluster.broker_up(1).unwrap();
}

/// Servers go down in turn, and in the end all of them, while publishers go on.
async fn go_and_come() {
    let (count, outages) = if is_long() { (100_000, 20) } else { (6_000, 4) };
    let cluster = cluster(3);
    let (publisher, subscriber) = (Process::of(&cluster), Process::of(&cluster));
    let topic = topic();
    let (_subscription, mut came) = collect(&subscriber.broker, &topic, &queue("q", 8)).await;
    let (taken, unknown) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    const PUBLISHERS: usize = 16;
    let publish = |n| {
        let (broker, topic) = (Arc::clone(&publisher.broker), topic.clone());
        let (taken, unknown) = (Arc::clone(&taken), Arc::clone(&unknown));
        tokio::spawn(async move {
            for number in (n..count).step_by(PUBLISHERS) {
                let message = message(&topic, number);
                // Each is acknowledged in the end, and so must not be lost.
                while let Err(error) = broker.publish(message.clone()).await {
                    assert_eq!(error.code(), 503, "{error}");
                    if error.retry() == Retry::Unknown {
                        unknown.fetch_add(1, SeqCst);
                    }
                }
                taken.fetch_add(1, SeqCst);
                clock::sleep(Duration::from_millis(2)).await;
            }
        })
    };
    let publishing: Vec<_> = (0..PUBLISHERS).map(publish).collect();
    for outage in 0..outages {
        let reached = count / (outages + 1) * (outage + 1);
        while taken.load(SeqCst) < reached {
            clock::sleep(Duration::from_millis(5)).await;
        }
        let servers = if outage + 1 == outages {
            vec![1, 2, 3]
        } else {
            vec![i32::try_from(outage % 3).unwrap() + 1]
        };
        for server in &servers {
            cluster.broker_down(*server).unwrap();
        }
        clock::sleep(Duration::from_secs(1)).await;
        for server in &servers {
            cluster.broker_up(*server).unwrap();
        }
    }
    for one in publishing {
        one.await.unwrap();
    }
    let mut seen = HashMap::<usize, usize>::new();
    while seen.len() < count {
        *seen.entry(number(&next(&mut came).await)).or_default() += 1;
    }
    let again: usize = seen.values().map(|times| times - 1).sum();
    let unknown = unknown.load(SeqCst);
    println!("{count} acknowledged, {outages} outages: 0 lost, {again} again, {unknown} unknown");
    assert!(again <= count / 10 + unknown, "{again} of {count} came again");
}

async fn refusals_pass() {
    let cluster = cluster(1);
    let process = Process::of(&cluster);
    let topic = topic();
    let (_subscription, mut came) = collect(&process.broker, &topic, &queue("q", 1)).await;
    let not_leader = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    let too_few = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    cluster.request_errors(RDKafkaApiKey::Produce, &[not_leader, too_few, not_leader]);
    cluster.request_errors(RDKafkaApiKey::Fetch, &[not_leader]);
    process.broker.publish(message(&topic, 1)).await.unwrap();
    assert_eq!(number(&next(&mut came).await), 1);
    is_quiet(&mut came).await;
}

async fn replaced() {
    let cluster = cluster(1);
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &[refused]);
    let process = Process::of(&cluster);
    let topic = topic();
    let (_subscription, mut came) =
        collect(&process.broker, &topic, &SubscribeOptions::default()).await;
    let failed = Instant::now();
    while let Err(error) = process.broker.publish(message(&topic, 1)).await {
        assert!(failed.elapsed() < Duration::from_secs(30), "{error}");
        clock::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(number(&next(&mut came).await), 1);
}

async fn no_topic() {
    let cluster = cluster(1);
    let process = Process::of(&cluster);
    process.is_up(true).await;
    let topic = topic();
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
    cluster.topic_error(&topic, refused).unwrap();
    let began = Instant::now();
    let error = process.broker.publish(message(&topic, 1)).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Safe), "{error}");
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    cluster.topic_error(&topic, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    publish(&process, &topic, 2).await;
}
