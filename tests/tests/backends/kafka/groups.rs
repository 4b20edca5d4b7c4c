//! Groups: where they begin, what they commit, and how members share.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use micro::broker::{Ack, Broker, Delivery, Handler, KafkaConfig};
use micro::core::clock;
use micro_tests::server::trial_alone;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::{Semaphore, mpsc};

use super::{Cluster, Process, cluster, collect, drain, is_quiet, keyed, message, next, number};
use super::{INBOX_MAX, queue, subscribe, topic, within};

/// The mock cluster divides a group only when a session would have timed out: a short one.
const SESSION: Duration = Duration::from_secs(6);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial_alone("kafka::a_new_group_begins_where_the_topic_ends", begins_at_the_end),
        trial_alone("kafka::a_group_without_members_keeps_its_place", keeps_its_place),
        trial_alone(
            "kafka::only_what_is_settled_without_a_gap_is_committed",
            only_what_is_settled_without_a_gap_is_committed,
        ),
        trial_alone("kafka::members_that_come_and_go_share_all_and_lose_nothing", come_and_go),
        trial_alone("kafka::a_slow_handler_keeps_its_partition", slow_handler),
        trial_alone("kafka::two_queues_and_topics_do_not_mix", do_not_mix),
        trial_alone("kafka::a_full_subscription_pauses_and_goes_on", pauses),
        trial_alone("kafka::what_was_paused_goes_on_when_members_come_and_go", goes_on),
    ]
}

async fn begins_at_the_end() {
    let cluster = cluster(1);
    let process = Process::of(&cluster);
    let topic = topic();
    process.broker.publish(message(&topic, 1)).await.unwrap();
    let (_subscription, mut came) = collect(&process.broker, &topic, &queue("q", 1)).await;
    process.broker.publish(message(&topic, 2)).await.unwrap();
    assert_eq!(number(&next(&mut came).await), 2);
    is_quiet(&mut came).await;
}

async fn keeps_its_place() {
    let cluster = cluster(1);
    let process = Process::of(&cluster);
    let topic = topic();
    let (first, mut came) = collect(&process.broker, &topic, &queue("q", 1)).await;
    for number in 0..10 {
        process.broker.publish(message(&topic, number)).await.unwrap();
    }
    for _ in 0..10 {
        next(&mut came).await;
    }
    drain(first).await;
    for number in 10..20 {
        process.broker.publish(message(&topic, number)).await.unwrap();
    }
    let other = Process::of(&cluster);
    let (_second, mut came) = collect(&other.broker, &topic, &queue("q", 1)).await;
    let mut numbers = Vec::new();
    for _ in 0..10 {
        numbers.push(number(&next(&mut came).await));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (10..20).collect::<Vec<_>>(), "what was settled comes again, or is lost");
    is_quiet(&mut came).await;
}

/// Returns how far a group is, over all partitions of a topic that it has begun.
fn committed(cluster: &Cluster, group: &str, topic: &str) -> i64 {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", group);
    let consumer: BaseConsumer = config.create().unwrap();
    let mut all = TopicPartitionList::new();
    all.add_partition_range(topic, 0, 3);
    let found = consumer.committed_offsets(all, Duration::from_secs(30)).unwrap();
    let offset = |offset| if let Offset::Offset(at) = offset { at } else { 0 };
    found.elements().iter().map(|one| offset(one.offset())).sum()
}

async fn only_what_is_settled_without_a_gap_is_committed() {
    let cluster = cluster(1);
    let process = Process::with(&cluster, KafkaConfig::default().with_key("key"));
    let topic = topic();
    let gate = Arc::new(Semaphore::new(0));
    let (sender, mut came) = mpsc::channel(INBOX_MAX);
    let handler: Handler = {
        let gate = Arc::clone(&gate);
        Arc::new(move |delivery: Delivery| {
            let (gate, sender) = (Arc::clone(&gate), sender.clone());
            Box::pin(async move {
                let number = number(&delivery);
                if number == 5 {
                    let _open = gate.acquire().await.unwrap();
                }
                sender.try_send(number).unwrap();
                Ack::Ack
            })
        })
    };
    let subscription = subscribe(&process.broker, &topic, &queue("q", 4), &handler).await;
    // All of one key, and so of one partition.
    for number in 0..50 {
        process.broker.publish(keyed(&topic, number)).await.unwrap();
    }
    for _ in 0..49 {
        within(came.recv()).await.unwrap();
    }
    let group = format!("q:{topic}");
    let reaches = |wanted| {
        let (group, topic) = (group.clone(), topic.clone());
        let cluster = &cluster;
        async move {
            let reached = async {
                while committed(cluster, &group, &topic) != wanted {
                    clock::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), reached).await.is_ok()
        }
    };
    assert!(reaches(5).await, "not all before the open one is committed");
    clock::sleep(Duration::from_secs(2)).await;
    assert_eq!(committed(&cluster, &group, &topic), 5, "beyond what is not settled is committed");
    // The member ends with 5 unsettled: that and all after it come again, elsewhere.
    subscription.close();
    let other = Process::of(&cluster);
    let (second, mut again) = collect(&other.broker, &topic, &queue("q", 1)).await;
    for wanted in 5..50 {
        assert_eq!(number(&next(&mut again).await), wanted);
    }
    drain(second).await;
    assert!(reaches(50).await, "what is settled is committed at the end");
}

async fn come_and_go() {
    let cluster = cluster(3);
    let publisher = Process::of(&cluster);
    let topic = topic();
    let (sender, mut came) = mpsc::channel(INBOX_MAX);
    let handler: Handler = Arc::new(move |delivery: Delivery| {
        let sender = sender.clone();
        Box::pin(async move {
            clock::sleep(Duration::from_millis(2)).await;
            sender.try_send(number(&delivery)).unwrap();
            Ack::Ack
        })
    });
    let processes: Vec<_> = (0..3).map(|_| Process::of(&cluster)).collect();
    let first = subscribe(&processes[0].broker, &topic, &queue("q", 4), &handler).await;
    let broker = Arc::clone(&publisher.broker);
    let count = 3000;
    let publishing = {
        let topic = topic.clone();
        tokio::spawn(async move {
            for number in 0..count {
                broker.publish(message(&topic, number)).await.unwrap();
                clock::sleep(Duration::from_millis(2)).await;
            }
        })
    };
    let second = subscribe(&processes[1].broker, &topic, &queue("q", 4), &handler).await;
    drain(first).await;
    let third = subscribe(&processes[2].broker, &topic, &queue("q", 4), &handler).await;
    within(publishing).await.unwrap();
    let mut seen = HashMap::<usize, usize>::new();
    while seen.len() < count {
        let number = within(came.recv()).await.unwrap();
        *seen.entry(number).or_default() += 1;
    }
    let again = seen.values().filter(|times| **times > 1).count();
    // The mock cluster refuses commits while a group divides its partitions, which servers take:
    // what was settled in the last half second comes again.
    println!("{count} messages, three changes of members: 0 lost, {again} delivered again");
    let counts = |process: &Process| process.broker.counts().acked;
    for (n, process) in processes.iter().enumerate() {
        assert!(counts(process) > 0, "member {n} had nothing to do");
    }
    drain(second).await;
    drain(third).await;
}

/// A handler that tells which member it is of, and then waits at the gate with the message 1.
fn slow(member: usize, gate: &Arc<Semaphore>, sender: &mpsc::Sender<(usize, usize)>) -> Handler {
    let (gate, sender) = (Arc::clone(gate), sender.clone());
    Arc::new(move |delivery: Delivery| {
        let (gate, sender) = (Arc::clone(&gate), sender.clone());
        Box::pin(async move {
            sender.try_send((member, number(&delivery))).unwrap();
            if number(&delivery) == 1 {
                gate.acquire().await.unwrap().forget();
            }
            Ack::Ack
        })
    })
}

async fn slow_handler() {
    let cluster = cluster(1);
    let config = KafkaConfig::default().with_session_timeout(SESSION).with_key("key");
    let process = Process::with(&cluster, config);
    let topic = topic();
    let gate = Arc::new(Semaphore::new(0));
    let (sender, mut came) = mpsc::channel(INBOX_MAX);
    let broker = &process.broker;
    let (a, b) = (slow(1, &gate, &sender), slow(2, &gate, &sender));
    let _first = subscribe(broker, &topic, &queue("q", 2), &a).await;
    let _second = subscribe(broker, &topic, &queue("q", 2), &b).await;
    broker.publish(keyed(&topic, 1)).await.unwrap();
    let (member, first) = within(came.recv()).await.unwrap();
    assert_eq!(first, 1);
    // Longer than a session lasts without a sign of life.
    clock::sleep(SESSION * 2).await;
    broker.publish(keyed(&topic, 2)).await.unwrap();
    let next = within(came.recv()).await.unwrap();
    assert_eq!(next, (member, 2), "a slow handler loses its partition, or its message");
    assert_eq!(gate.available_permits(), 0, "the first still runs");
    gate.add_permits(1);
    while broker.counts().acked < 2 {
        clock::sleep(Duration::from_millis(10)).await;
    }
    assert!(came.try_recv().is_err(), "a message comes twice");
}

async fn do_not_mix() {
    let cluster = cluster(1);
    let process = Process::of(&cluster);
    let (one, other) = (topic(), topic());
    let broker = &process.broker;
    let (a, b, c) = (queue("a", 1), queue("b", 1), queue("a", 1));
    let ((_a, mut a), (_b, mut b), (_c, mut c)) = tokio::join!(
        collect(broker, &one, &a),
        collect(broker, &one, &b),
        collect(broker, &other, &c),
    );
    broker.publish(message(&one, 1)).await.unwrap();
    broker.publish(message(&other, 2)).await.unwrap();
    for (came, wanted) in [(&mut a, 1), (&mut b, 1), (&mut c, 2)] {
        assert_eq!(number(&next(came).await), wanted);
        is_quiet(came).await;
    }
}

/// Limits that four messages fill.
fn small() -> super::Limits {
    let mut limits = super::Limits::DEFAULT;
    limits.broker.unacked_max = 4;
    limits
}

/// A handler that waits at a gate, and then tells what it handled.
fn gated(gate: &Arc<Semaphore>, sender: &mpsc::Sender<usize>) -> Handler {
    let (gate, sender) = (Arc::clone(gate), sender.clone());
    Arc::new(move |delivery: Delivery| {
        let (gate, sender) = (Arc::clone(&gate), sender.clone());
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            sender.try_send(number(&delivery)).unwrap();
            Ack::Ack
        })
    })
}

async fn holds(process: &Process, least: u64) {
    let held = async {
        while process.broker.counts().routed < least {
            clock::sleep(Duration::from_millis(10)).await;
        }
    };
    within(held).await;
}

async fn pauses() {
    let cluster = cluster(1);
    let process = Process::new(&cluster.bootstrap_servers(), KafkaConfig::default(), &small());
    let topic = topic();
    let gate = Arc::new(Semaphore::new(0));
    let (sender, mut came) = mpsc::channel(INBOX_MAX);
    let handler = gated(&gate, &sender);
    let _subscription = subscribe(&process.broker, &topic, &queue("q", 2), &handler).await;
    for number in 0..100 {
        process.broker.publish(message(&topic, number)).await.unwrap();
    }
    holds(&process, 4).await;
    // Long enough that the partitions are paused.
    clock::sleep(super::QUIET * 2).await;
    let taken = process.broker.counts().routed;
    assert!(taken <= 6, "{taken} messages are held, the limit is 4");
    gate.add_permits(100);
    let mut numbers = Vec::new();
    for _ in 0..100 {
        numbers.push(within(came.recv()).await.unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    assert!(came.try_recv().is_err(), "what was paused comes again");
}

async fn goes_on() {
    let cluster = cluster(1);
    let config = KafkaConfig::default().with_session_timeout(SESSION);
    let process = || Process::new(&cluster.bootstrap_servers(), config.clone(), &small());
    let (one, other) = (process(), process());
    let topic = topic();
    let gate = Arc::new(Semaphore::new(0));
    let (sender, mut came) = mpsc::channel(INBOX_MAX);
    let handler = gated(&gate, &sender);
    let _first = subscribe(&one.broker, &topic, &queue("q", 4), &handler).await;
    for number in 0..100 {
        one.broker.publish(message(&topic, number)).await.unwrap();
    }
    holds(&one, 4).await;
    clock::sleep(super::QUIET).await;
    let options = queue("q", 4);
    let joining = subscribe(&other.broker, &topic, &options, &handler);
    // The first member gives up its partitions, paused, within a heartbeat and the two seconds that
    // its handlers have; the group has a session's time to divide them. In between there is room
    // again: what comes back is not paused anew.
    let opening = async {
        clock::sleep(Duration::from_secs(4)).await;
        gate.add_permits(Semaphore::MAX_PERMITS / 2);
    };
    let (second, ()) = tokio::join!(joining, opening);
    drain(second).await;
    for number in 100..120 {
        one.broker.publish(message(&topic, number)).await.unwrap();
    }
    let mut seen = BTreeSet::new();
    while seen.len() < 120 {
        let next = tokio::time::timeout(super::PATIENCE, came.recv()).await;
        let Ok(number) = next else { panic!("{} of 120 come: {seen:?}", seen.len()) };
        seen.insert(number.unwrap());
    }
}
