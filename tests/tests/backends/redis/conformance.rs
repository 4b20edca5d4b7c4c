//! What every backend promises.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use micro::core::future::BoxFuture;
use micro::core::limits::{Limits, RegistryLimits, StoreLimits};
use micro::testkit::broker::Pair;
use micro::{broker, registry, store, testkit};
use micro_tests::server::{REDIS, redis, trial};

use super::{connect, prefix};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("redis::the_store_conforms", &REDIS, || async {
            let server = redis();
            let (one, two) = (connect(&server), connect(&server));
            let made = testkit::store::conformance(async || {
                let prefix = prefix();
                let open = |redis| {
                    Arc::new(store::Redis::new(Arc::clone(redis), &prefix, StoreLimits::default()))
                };
                let mut subject = testkit::store::Subject::new(open(&one), open(&two));
                subject.ttl = Duration::from_secs(1);
                subject
            });
            made.await.unwrap_or_else(|failures| panic!("{failures}"));
        }),
        trial("redis::the_registry_conforms", &REDIS, || async {
            let server = redis();
            let (one, two) = (connect(&server), connect(&server));
            let made = testkit::registry::conformance(async || {
                let prefix = prefix();
                let open = |redis| {
                    let limits = RegistryLimits::default();
                    Arc::new(registry::Redis::new(Arc::clone(redis), &prefix, limits))
                };
                testkit::registry::Subject::new(open(&one), open(&two))
                    .with_ttl(Duration::from_secs(1))
            });
            made.await.unwrap_or_else(|failures| panic!("{failures}"));
        }),
        trial("redis::the_broker_conforms", &REDIS, || async {
            let server = redis();
            let (one, two) = (connect(&server), connect(&server));
            let make = move || -> BoxFuture<'static, Arc<dyn broker::Broker>> {
                let prefix = prefix();
                let open = |redis| -> Arc<dyn broker::Broker> {
                    let (redis, prefix) = (Arc::clone(redis), prefix.as_str());
                    Arc::new(broker::Redis::new(redis, prefix, &Limits::default()))
                };
                let pair = Pair::new(open(&one), open(&two));
                Box::pin(async move { Arc::new(pair) as Arc<dyn broker::Broker> })
            };
            testkit::broker::conforms(&make).await;
        }),
        trial("redis::the_broker_on_publish_and_subscribe_conforms", &REDIS, || async {
            let server = redis();
            let (one, two) = (connect(&server), connect(&server));
            let make = move || -> BoxFuture<'static, Arc<dyn broker::Broker>> {
                let prefix = prefix();
                let open = |redis| -> Arc<dyn broker::Broker> {
                    let (redis, prefix) = (Arc::clone(redis), prefix.as_str());
                    Arc::new(broker::RedisPubSub::new(redis, prefix, &Limits::default()))
                };
                let pair = Pair::new(open(&one), open(&two));
                Box::pin(async move { Arc::new(pair) as Arc<dyn broker::Broker> })
            };
            testkit::broker::conforms(&make).await;
        }),
    ]
}
