//! Backends on servers: each against a copy of its server that the test starts, kills and pauses.
#![allow(
    clippy::disallowed_methods,
    reason = "the runtime of a trial owns its tasks and ends them"
)]

#[cfg(feature = "consul")]
mod consul;
#[cfg(feature = "dns")]
mod dns;
#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "gossip")]
mod gossip;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kubernetes")]
mod kubernetes;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "nats")]
mod nats_brokers;
#[cfg(feature = "nsq")]
mod nsq;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "etcd", feature = "mqtt"))]
mod proxy;
#[cfg(feature = "pubsub")]
mod pubsub;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(feature = "redis")]
mod redis;
#[cfg(all(
    feature = "etcd",
    feature = "nats",
    feature = "postgres",
    feature = "rabbitmq",
    feature = "redis"
))]
mod shop;
#[cfg(any(feature = "nats", feature = "rabbitmq"))]
mod transports;
#[cfg(feature = "zookeeper")]
mod zookeeper;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let groups: &[fn() -> Vec<Trial>] = &[
        #[cfg(feature = "consul")]
        consul::trials,
        #[cfg(feature = "dns")]
        dns::trials,
        #[cfg(feature = "etcd")]
        etcd::trials,
        #[cfg(feature = "gossip")]
        gossip::trials,
        #[cfg(feature = "kafka")]
        kafka::trials,
        #[cfg(feature = "kubernetes")]
        kubernetes::trials,
        #[cfg(feature = "mqtt")]
        mqtt::trials,
        #[cfg(feature = "nats")]
        nats::trials,
        #[cfg(feature = "nats")]
        nats_brokers::trials,
        #[cfg(feature = "nsq")]
        nsq::trials,
        #[cfg(feature = "postgres")]
        postgres::trials,
        #[cfg(feature = "pubsub")]
        pubsub::trials,
        #[cfg(feature = "rabbitmq")]
        rabbitmq::trials,
        #[cfg(feature = "redis")]
        redis::trials,
        #[cfg(all(
            feature = "etcd",
            feature = "nats",
            feature = "postgres",
            feature = "rabbitmq",
            feature = "redis"
        ))]
        shop::trials,
        #[cfg(any(feature = "nats", feature = "rabbitmq"))]
        transports::trials,
        #[cfg(feature = "zookeeper")]
        zookeeper::trials,
    ];
    let trials = groups.iter().flat_map(|group| group()).collect();
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    #[cfg(feature = "pubsub")]
    pubsub::end();
    #[cfg(feature = "rabbitmq")]
    rabbitmq::end();
    conclusion.exit_code()
}
