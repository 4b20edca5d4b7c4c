//! etcd: registry, store and settings.

mod conformance;
pub(crate) mod gateway;
mod interop;
mod members;
mod outage;
mod scale;
mod settings;
mod stored;

use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use micro::core::limits::{Limits, RegistryLimits, StoreLimits};
use micro::core::shutdown::TaskTracker;
use micro::driver::{Etcd, Server};
use micro::registry::{self, Node, Record};
use micro::store;

use micro_tests::server::{ETCD, trial};

/// How long anything may take that is not measured: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// How soon after a server answers again a record has to be back.
const BACK_WITHIN: Duration = Duration::from_secs(2);

macro_rules! trials {
    ($($module:ident: $($name:ident)*;)*) => {
        pub(crate) fn trials() -> Vec<Trial> {
            vec![$($(trial(concat!("etcd::", stringify!($name)), &ETCD, $module::$name)),*),*]
        }
    };
}

trials! {
    conformance:
        the_registry_conforms
        the_store_conforms;
    interop:
        a_record_is_where_and_what_go_micro_says
        a_record_of_go_micro_is_found_and_followed
        names_that_become_one_key_are_refused;
    members:
        the_next_member_is_asked_when_one_is_away
        a_user_logs_in_and_again_when_its_token_is_gone
        a_wrong_password_is_said;
    outage:
        what_is_absent_at_start_is_used_once_it_is_there
        a_server_that_lost_its_data_gets_the_record_back
        a_paused_server_takes_no_node_from_readers
        a_watch_goes_on_with_the_next_revision
        a_watch_whose_revision_is_compacted_begins_anew
        a_record_removed_by_hand_is_back_with_the_next_heartbeat
        many_records_are_renewed_on_one_stream;
    stored:
        no_acknowledged_write_is_lost_and_no_version_won_twice
        a_watch_of_the_store_goes_on_after_a_restart
        an_ended_time_leaves_no_lease_behind;
    settings:
        the_settings_conform
        a_key_that_is_not_there_is_said
        a_watch_of_settings_goes_on_after_a_restart
        urls_open_what_is_on_one_connection;
    scale:
        many_nodes_cost_a_lookup_nothing;
}

/// Whether the long forms of tests run.
fn is_long() -> bool {
    std::env::var_os("MICRO_LONG").is_some_and(|value| value == "1")
}

/// What one process has: a connection, and the owner of its tasks.
struct Process {
    etcd: Arc<Etcd>,
    tasks: TaskTracker,
}

impl Process {
    fn new(port: u16) -> Self {
        Self::of(&Server::new("127.0.0.1", port))
    }

    fn of(server: &Server) -> Self {
        let tasks = TaskTracker::new();
        Self { etcd: Arc::new(Etcd::open(server, &tasks).unwrap()), tasks }
    }

    fn registry(&self) -> registry::Etcd {
        registry::Etcd::new(Arc::clone(&self.etcd), RegistryLimits::default())
    }

    fn store(&self) -> store::Etcd {
        store::Etcd::new(Arc::clone(&self.etcd), &StoreLimits::default())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

/// Limits with a short life of records, so that pauses outlast it.
fn brisk() -> Limits {
    let mut limits = Limits::default();
    limits.registry.ttl = Duration::from_secs(2);
    limits.registry.heartbeat_interval = Duration::from_millis(500);
    limits
}

fn record(service: &str, id: &str) -> Record {
    let address = format!("10.0.0.1:{}", 1000 + id.len());
    let node = Node { id: id.to_owned(), address, ..Node::default() };
    Record { name: service.to_owned(), nodes: vec![node], ..Record::default() }
}

/// Asks until something holds, and returns how long that took.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    start.elapsed()
}
