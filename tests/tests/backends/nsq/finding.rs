//! Finding nsqds by nsqlookupd.

use std::time::Duration;

use libtest_mimic::Trial;
use micro::broker::{Broker, NsqConfig};
use micro::core::clock;
use micro::driver::Link;
use micro_tests::server::trial_alone;

use super::lookupd::Lookupd;
use super::nsqd::{Nsqd, Options};
use super::{Process, group, inbox, next_body, server, until};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial_alone("nsq::an_nsqd_that_is_found_is_subscribed_at", an_nsqd_that_is_found),
        trial_alone("nsq::a_lookup_that_fails_keeps_what_is_known", a_lookup_that_fails),
        trial_alone("nsq::an_nsqd_that_is_gone_is_left_alone", an_nsqd_that_is_gone_is_left_alone),
    ]
}

fn config(lookups: &[&Lookupd]) -> NsqConfig {
    let ports: Vec<_> = lookups.iter().map(|lookup| lookup.port()).collect();
    let interval = Duration::from_millis(50);
    NsqConfig::default().with_lookup(server(&ports)).with_lookup_interval(interval)
}

async fn asked_again(lookup: &Lookupd) {
    let asked = lookup.questions();
    // The first may have been answered before.
    until("nsqlookupd is asked again", || lookup.questions() >= asked + 2).await;
}

async fn an_nsqd_that_is_found() {
    let (own, other) =
        (Nsqd::start(Options::default()).await, Nsqd::start(Options::default()).await);
    let (empty, lookup) = (Lookupd::start().await, Lookupd::start().await);
    lookup.register(&other);
    let elsewhere = Process::of(&other);
    elsewhere.publish("before", "1").await;
    let process = Process::new(&server(&[own.port()]), &config(&[&empty, &lookup]));
    // What is there when subscribing is subscribed at when that returns.
    let (take, mut came) = inbox();
    let _before = process.broker.subscribe("before", group("q", 2), take).await.unwrap();
    assert_eq!(other.channels("before"), ["q"]);
    assert_eq!(next_body(&mut came).await, "1");
    // What comes later is found.
    let (take, mut came) = inbox();
    let _later = process.broker.subscribe("later", group("q", 2), take).await.unwrap();
    elsewhere.publish("later", "2").await;
    assert_eq!(next_body(&mut came).await, "2");
    process.publish("later", "3").await;
    assert_eq!(next_body(&mut came).await, "3");
    until("all is finished", || own.depth("later", "q") + other.depth("later", "q") == 0).await;
    assert_eq!(other.channels("later"), ["q"]);
    elsewhere.end().await;
    process.end().await;
}

async fn a_lookup_that_fails() {
    let (own, mut other) =
        (Nsqd::start(Options::default()).await, Nsqd::start(Options::default()).await);
    let lookup = Lookupd::start().await;
    lookup.register(&other);
    let elsewhere = Process::of(&other);
    elsewhere.publish("t", "1").await;
    let process = Process::new(&server(&[own.port()]), &config(&[&lookup]));
    let (take, mut came) = inbox();
    let _group = process.broker.subscribe("t", group("q", 2), take).await.unwrap();
    assert_eq!(next_body(&mut came).await, "1");
    until("all is finished", || other.depth("t", "q") == 0).await;
    // It says nothing, and the nsqd that was found goes and returns.
    lookup.fail(true);
    asked_again(&lookup).await;
    other.end().await;
    until("it is missed", || !elsewhere.link.is_up()).await;
    asked_again(&lookup).await;
    other.start_again().await;
    elsewhere.up().await;
    elsewhere.publish("t", "2").await;
    assert_eq!(next_body(&mut came).await, "2");
    // It is not there at all, and one subscribes all the same.
    drop(lookup);
    let (take, mut alone) = inbox();
    let _other = process.broker.subscribe("u", group("q", 1), take).await.unwrap();
    process.publish("u", "3").await;
    assert_eq!(next_body(&mut alone).await, "3");
    elsewhere.end().await;
    process.end().await;
}

async fn an_nsqd_that_is_gone_is_left_alone() {
    let (own, mut other) =
        (Nsqd::start(Options::default()).await, Nsqd::start(Options::default()).await);
    let lookup = Lookupd::start().await;
    lookup.register(&other);
    let elsewhere = Process::of(&other);
    elsewhere.publish("t", "1").await;
    let process = Process::new(&server(&[own.port()]), &config(&[&lookup]));
    let (take, mut came) = inbox();
    let _group = process.broker.subscribe("t", group("q", 2), take).await.unwrap();
    assert_eq!(next_body(&mut came).await, "1");
    lookup.forget();
    asked_again(&lookup).await;
    // As long as it is there, nothing changes.
    elsewhere.publish("t", "2").await;
    assert_eq!(next_body(&mut came).await, "2");
    until("all is finished", || other.depth("t", "q") == 0).await;
    other.end().await;
    until("it is missed", || !elsewhere.link.is_up()).await;
    other.start_again().await;
    elsewhere.up().await;
    elsewhere.publish("t", "3").await;
    clock::sleep(Duration::from_secs(3)).await;
    assert!(came.try_recv().is_err(), "it is still subscribed at");
    // Named again, it is subscribed at again.
    lookup.register(&other);
    assert_eq!(next_body(&mut came).await, "3");
    elsewhere.end().await;
    process.end().await;
}
