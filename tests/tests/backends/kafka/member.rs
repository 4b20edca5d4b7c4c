//! A member in a process of its own, which is killed.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use micro::broker::{Broker, Handler, KafkaConfig};
use micro_tests::server::trial_alone;

use super::{
    PATIENCE, Process, cluster, collect, message, next, number, queue, subscribe, topic, within,
};

/// The servers and the topic of a process that this test starts, and which is a member.
const VARIABLE: &str = "MICRO_TEST_KAFKA_MEMBER";

const MEMBER: &str = "kafka::is_a_member";

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = vec![trial_alone("kafka::others_get_what_a_killed_member_had", killed)];
    if std::env::var_os(VARIABLE).is_some() {
        trials.push(trial_alone(MEMBER, is_a_member));
    }
    trials
}

/// Subscribes, holds what comes, and waits to be killed.
async fn is_a_member() {
    let told = std::env::var(VARIABLE).unwrap();
    let (addresses, topic) = told.split_once(' ').unwrap();
    let config = KafkaConfig::default().with_session_timeout(Duration::from_secs(6));
    let process = Process::new(addresses, config, &super::Limits::DEFAULT);
    let broker = Arc::clone(&process.broker);
    let holding = format!("{topic}.holding");
    let handler: Handler = Arc::new(move |delivery| {
        let (broker, holding) = (Arc::clone(&broker), holding.clone());
        Box::pin(async move {
            broker.publish(message(&holding, number(&delivery))).await.unwrap();
            std::future::pending().await
        })
    });
    let _subscription = subscribe(&process.broker, topic, &queue("q", 64), &handler).await;
    tokio::time::sleep(PATIENCE * 2).await;
}

/// Ends with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _gone = self.0.kill().is_err();
        let _unknown = self.0.wait().is_err();
    }
}

async fn killed() {
    let cluster = cluster(1);
    let process = Process::of(&cluster);
    let topic = topic();
    let holding = format!("{topic}.holding");
    let (_listening, mut held) = collect(&process.broker, &holding, &Default::default()).await;
    let member = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", MEMBER])
        .env(VARIABLE, format!("{} {topic}", cluster.bootstrap_servers()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    let member = Killed(member.unwrap());
    // The member begins where the topic ends: what is published before it is there is not for it.
    let mut number_sent = 0;
    let is_there = async {
        loop {
            process.broker.publish(message(&topic, number_sent)).await.unwrap();
            number_sent += 1;
            if let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(200), held.recv()).await
            {
                break;
            }
        }
    };
    within(is_there).await;
    for number in 1000..1020 {
        process.broker.publish(message(&topic, number)).await.unwrap();
    }
    let mut holds = Vec::new();
    while holds.iter().filter(|number| **number >= 1000).count() < 20 {
        holds.push(number(&next(&mut held).await));
    }
    drop(member);
    let began = Instant::now();
    let (_second, mut came) = collect(&process.broker, &topic, &queue("q", 1)).await;
    let mut numbers = Vec::new();
    while numbers.len() < 20 {
        let number = number(&next(&mut came).await);
        if number >= 1000 && !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    println!("others go on {:?} after a member was killed", began.elapsed());
    numbers.sort_unstable();
    assert_eq!(numbers, (1000..1020).collect::<Vec<_>>());
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}
