//! The suites, against a server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use micro::testkit;
use micro_tests::server::etcd;

use super::Process;

/// As short as etcd keeps it reliably: leases have at least two seconds.
const TTL: Duration = Duration::from_secs(3);

pub(super) async fn the_registry_conforms() {
    let server = etcd();
    let (one, two) = (Process::new(server.port()), Process::new(server.port()));
    let next = AtomicUsize::new(0);
    let outcome = testkit::registry::conformance(async || {
        let namespace = format!("n{}", next.fetch_add(1, Ordering::Relaxed));
        let handle = |process: &Process| Arc::new(process.registry().within(&namespace));
        testkit::registry::Subject::new(handle(&one), handle(&two)).with_ttl(TTL)
    });
    outcome.await.unwrap_or_else(|failures| panic!("{failures}"));
}

pub(super) async fn the_store_conforms() {
    let server = etcd();
    let (one, two) = (Process::new(server.port()), Process::new(server.port()));
    let next = AtomicUsize::new(0);
    let outcome = testkit::store::conformance(async || {
        let namespace = format!("n{}", next.fetch_add(1, Ordering::Relaxed));
        let handle = |process: &Process| Arc::new(process.store().within(&namespace));
        testkit::store::Subject::new(handle(&one), handle(&two)).with_ttl(TTL)
    });
    outcome.await.unwrap_or_else(|failures| panic!("{failures}"));
}
