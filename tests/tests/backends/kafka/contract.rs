//! What the broker promises while its servers are well.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use libtest_mimic::Trial;
use micro::broker::{Broker, KafkaConfig, Message, SubscribeOptions};
use micro::core::content_type::ContentType;
use micro::core::error::Retry;
use micro::core::future::BoxFuture;
use micro::testkit;
use micro_tests::server::trial_alone;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{Process, cluster, collect, is_quiet, keyed, message, next, number, queue, topic};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial_alone("kafka::the_broker_conforms", conforms),
        trial_alone("kafka::messages_of_one_key_keep_their_order", messages_of_one_key),
        trial_alone("kafka::go_micro_reads_and_is_read", go_micro_reads_and_is_read),
        trial_alone("kafka::a_record_of_another_program_is_a_message", another_program),
        trial_alone("kafka::a_message_that_is_too_long_is_refused_unsent", too_long),
        trial_alone("kafka::a_subscription_without_a_queue_has_no_past", has_no_past),
        trial_alone("kafka::a_client_ends_with_its_broker", ends),
    ]
}

async fn conforms() {
    let cluster = cluster(1);
    let addresses = cluster.bootstrap_servers();
    // The mock cluster divides a group only when a session would have timed out.
    let config = KafkaConfig::default().with_session_timeout(Duration::from_secs(6));
    let make = move || -> BoxFuture<'static, Arc<dyn Broker>> {
        let (addresses, config) = (addresses.clone(), config.clone());
        Box::pin(async move {
            let process = || Process::new(&addresses, config.clone(), &super::Limits::DEFAULT);
            let (one, other) = (process().broker, process().broker);
            let pair: Arc<dyn Broker> = Arc::new(testkit::broker::Pair::new(one, other));
            pair
        })
    };
    testkit::broker::conforms(&make).await;
}

async fn messages_of_one_key() {
    let cluster = cluster(1);
    let process = Process::with(&cluster, KafkaConfig::default().with_key("key"));
    let topic = topic();
    let (_subscription, mut came) = collect(&process.broker, &topic, &queue("q", 1)).await;
    for number in 0..200 {
        process.broker.publish(keyed(&topic, number)).await.unwrap();
    }
    for wanted in 0..200 {
        assert_eq!(number(&next(&mut came).await), wanted);
    }
}

fn bare(cluster: &super::Cluster) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers());
    config
}

async fn go_micro_reads_and_is_read() {
    let cluster = cluster(1);
    let process = Process::of(&cluster);
    let topic = topic();
    let (_subscription, mut came) =
        collect(&process.broker, &topic, &SubscribeOptions::default()).await;
    let mut sent = message(&topic, 7);
    sent.metadata.insert("tenant", "acme").unwrap();
    process.broker.publish(sent.clone()).await.unwrap();
    assert_eq!(*next(&mut came).await.message, sent);
    let consumer: BaseConsumer = bare(&cluster).set("group.id", "other").create().unwrap();
    let mut all = TopicPartitionList::new();
    for partition in 0..4 {
        all.add_partition_offset(&topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&all).unwrap();
    let record = consumer.poll(Duration::from_secs(30)).unwrap().unwrap();
    let value: serde_json::Value = serde_json::from_slice(record.payload().unwrap()).unwrap();
    assert_eq!(value["Header"]["Micro-Topic"], topic);
    assert_eq!(value["Header"]["Micro-Id"], sent.id);
    assert_eq!(value["Header"]["Content-Type"], "application/json");
    assert_eq!(value["Header"]["Tenant"], "acme");
    assert_eq!(value["Body"], "Nw==");
    let theirs = r#"{"Header":{"Content-Type":"application/json","Foo":"bar"},"Body":"OA=="}"#;
    let producer: FutureProducer = bare(&cluster).create().unwrap();
    let record = FutureRecord::<str, str>::to(&topic).payload(theirs);
    producer.send(record, Duration::from_secs(30)).await.unwrap();
    let came = next(&mut came).await;
    assert_eq!((number(&came), came.message.metadata.get("foo")), (8, Some("bar")));
    assert_eq!(came.message.topic, topic);
}

async fn another_program() {
    let cluster = cluster(1);
    let process = Process::of(&cluster);
    let topic = topic();
    let (_subscription, mut came) =
        collect(&process.broker, &topic, &SubscribeOptions::default()).await;
    let producer: FutureProducer = bare(&cluster).create().unwrap();
    let header = |key, value| Header { key, value: Some(value) };
    let headers = OwnedHeaders::new()
        .insert(header("content-type", "text/plain"))
        .insert(header("tenant", "acme"));
    let record = FutureRecord::<str, str>::to(&topic).payload("plain").headers(headers);
    let place = producer.send(record, Duration::from_secs(30)).await.unwrap();
    let came = next(&mut came).await.message;
    assert_eq!(came.id, format!("{topic}:{}:{}", place.partition, place.offset));
    assert_eq!((&came.body[..], came.content_type.as_str()), (&b"plain"[..], "text/plain"));
    assert_eq!(came.metadata.get("tenant"), Some("acme"));
}

async fn too_long() {
    let cluster = cluster(1);
    let config = KafkaConfig::default().with_message_bytes_max(10_000);
    let process = Process::with(&cluster, config);
    let topic = topic();
    let publish = |bytes: usize| {
        let body = Bytes::from(vec![b'x'; bytes]);
        process.broker.publish(Message::new(&topic, ContentType::Bytes, body))
    };
    let (_subscription, mut came) =
        collect(&process.broker, &topic, &SubscribeOptions::default()).await;
    let mut bytes = 6500;
    // Every length that is let through is one that the library and the servers take.
    let error = loop {
        if let Err(error) = publish(bytes).await {
            break error;
        }
        assert_eq!(next(&mut came).await.message.body.len(), bytes);
        bytes += 100;
    };
    for error in [error, publish(bytes * 10).await.unwrap_err()] {
        assert_eq!((error.code(), error.retry()), (413, Retry::Never), "{error}");
        assert!(error.detail().contains("with framing"), "{error}");
    }
    assert!(bytes > 6600, "{bytes}");
    is_quiet(&mut came).await;
}

async fn has_no_past() {
    let cluster = cluster(1);
    let process = Process::of(&cluster);
    let topic = topic();
    let options = SubscribeOptions::default();
    process.broker.publish(message(&topic, 1)).await.unwrap();
    let (first, mut came) = collect(&process.broker, &topic, &options).await;
    process.broker.publish(message(&topic, 2)).await.unwrap();
    assert_eq!(number(&next(&mut came).await), 2, "it begins where the topic ends");
    first.close();
    process.broker.publish(message(&topic, 3)).await.unwrap();
    let (_second, mut came) = collect(&process.broker, &topic, &options).await;
    process.broker.publish(message(&topic, 4)).await.unwrap();
    assert_eq!(number(&next(&mut came).await), 4, "it has no past");
}

async fn ends() {
    let cluster = cluster(1);
    let process = Process::of(&cluster);
    let topic = topic();
    let (subscription, mut came) = collect(&process.broker, &topic, &queue("q", 3)).await;
    process.broker.publish(message(&topic, 1)).await.unwrap();
    next(&mut came).await;
    process.end().await;
    assert!(!subscription.is_active());
}
