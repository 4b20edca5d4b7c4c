//! The state machine of a lease, in virtual time and under random orders.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::*;
use crate::core::future::BoxFuture;
use crate::registry::Capabilities;
use crate::registry::Memory;
use crate::registry::Watch;
use crate::registry::record::Node;

const TTL: Duration = Duration::from_secs(15);
const HEARTBEAT: Duration = Duration::from_secs(5);

fn record(address: &str) -> Record {
    let node = Node { id: "greeter-1".into(), address: address.into(), ..Node::default() };
    Record { name: "greeter".into(), nodes: vec![node], ..Record::default() }
}

/// Writes down what it is asked, fails or hangs on demand.
#[derive(Debug, Default)]
struct Recorder {
    memory: Memory,
    down: AtomicBool,
    hangs: AtomicBool,
    log: Mutex<Vec<(&'static str, Instant)>>,
}

impl Recorder {
    async fn enter(&self, what: &'static str) -> Result<()> {
        self.log.lock().unwrap().push((what, clock::now()));
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        match self.down.load(Ordering::SeqCst) {
            true => Err(Error::unavailable("test", "down")),
            false => Ok(()),
        }
    }

    fn count(&self, what: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|entry| entry.0 == what).count()
    }

    async fn nodes(&self) -> Vec<Node> {
        let records = self.memory.lookup("greeter").await.unwrap();
        records.unwrap_or_default().into_iter().flat_map(|record| record.nodes).collect()
    }
}

impl Registry for Recorder {
    fn name(&self) -> &'static str {
        "recorder"
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }

    fn register<'a>(&'a self, record: &'a Record, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.enter("register").await?;
            self.memory.register(record, ttl).await
        })
    }

    fn deregister<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.enter("deregister").await?;
            self.memory.deregister(record).await
        })
    }

    fn lookup<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<Option<Vec<Record>>>> {
        self.memory.lookup(service)
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        self.memory.list()
    }

    fn watch<'a>(&'a self, service: Option<&'a str>) -> BoxFuture<'a, Result<Watch>> {
        self.memory.watch(service)
    }
}

fn limits(ttl: Duration, heartbeat_interval: Duration) -> Limits {
    let mut limits = Limits::default();
    (limits.registry.ttl, limits.registry.heartbeat_interval) = (ttl, heartbeat_interval);
    limits
}

fn start(registry: &Arc<Recorder>) -> (Lease, TaskTracker) {
    let tracker = TaskTracker::new();
    let shared = Arc::<Recorder>::clone(registry);
    (
        Lease::start(shared, record("127.0.0.1:1"), &limits(TTL, HEARTBEAT), &tracker).unwrap(),
        tracker,
    )
}

#[tokio::test(start_paused = true)]
async fn r11_a_lease_outlives_its_ttl_by_jittered_heartbeats() {
    let registry = Arc::new(Recorder::default());
    let (lease, _tracker) = start(&registry);
    assert!(!lease.is_registered());
    lease.registered().await.unwrap();
    for _ in 0..100 {
        clock::sleep(Duration::from_secs(1)).await;
        assert_eq!(registry.nodes().await.len(), 1);
        assert!(lease.is_registered());
    }
    let log = registry.log.lock().unwrap().clone();
    let pauses: Vec<Duration> = log.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    assert!(pauses.iter().all(|p| *p >= HEARTBEAT * 79 / 100 && *p <= HEARTBEAT * 121 / 100));
    assert!(pauses.iter().any(|pause| *pause != pauses[0]), "not in step");
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_returns_holds_the_record_soon() {
    let registry = Arc::new(Recorder::default());
    registry.down.store(true, Ordering::SeqCst);
    let (lease, _tracker) = start(&registry);
    clock::sleep(Duration::from_secs(600)).await;
    assert!(!lease.is_registered());
    assert_eq!(lease.failure().unwrap().code(), 503);
    assert!(registry.count("register") < 3000, "repeats back off");
    registry.down.store(false, Ordering::SeqCst);
    let back = clock::now();
    lease.registered().await.unwrap();
    assert!(clock::now() - back <= Duration::from_secs(2));
    assert!(lease.failure().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_renewed_counts_as_lost_after_its_ttl() {
    let registry = Arc::new(Recorder::default());
    let (lease, _tracker) = start(&registry);
    lease.registered().await.unwrap();
    registry.hangs.store(true, Ordering::SeqCst);
    clock::sleep(TTL + HEARTBEAT * 2).await;
    assert!(!lease.is_registered());
    registry.hangs.store(false, Ordering::SeqCst);
    lease.registered().await.unwrap();
    assert_eq!(registry.nodes().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn draining_is_written_before_it_returns_and_kept_by_heartbeats() {
    let registry = Arc::new(Recorder::default());
    let (lease, _tracker) = start(&registry);
    lease.registered().await.unwrap();
    lease.set_draining().await.unwrap();
    assert_eq!(registry.nodes().await[0].metadata["state"], "draining");
    lease.set_ready();
    lease.set_not_ready();
    clock::sleep(TTL * 2).await;
    assert_eq!(registry.nodes().await[0].metadata["state"], "draining", "no way back");
    lease.close().await.unwrap();
    assert!(registry.nodes().await.is_empty());
    lease.close().await.unwrap();
    assert_eq!(lease.set_draining().await.unwrap_err().code(), 503);
    assert_eq!(lease.registered().await.unwrap_err().code(), 503);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_drains_while_not_ready_stays_away() {
    let registry = Arc::new(Recorder::default());
    let (lease, _tracker) = start(&registry);
    lease.registered().await.unwrap();
    lease.set_not_ready();
    lease.set_draining().await.unwrap();
    assert!(registry.nodes().await.is_empty());
    lease.set_ready();
    clock::sleep(TTL).await;
    assert!(registry.nodes().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn closing_is_bounded_when_the_registry_is_down_or_hangs() {
    for hangs in [false, true] {
        let registry = Arc::new(Recorder::default());
        let (lease, tracker) = start(&registry);
        lease.registered().await.unwrap();
        registry.down.store(true, Ordering::SeqCst);
        registry.hangs.store(hangs, Ordering::SeqCst);
        let begin = clock::now();
        let error = lease.close().await.unwrap_err();
        assert_eq!(error.code(), if hangs { 408 } else { 503 });
        assert!(clock::now() - begin <= Limits::DEFAULT.shutdown.close_timeout);
        clock::sleep(Duration::from_millis(1)).await;
        assert!(tracker.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_lease_deregisters_behind_the_scenes() {
    let registry = Arc::new(Recorder::default());
    let (lease, tracker) = start(&registry);
    lease.registered().await.unwrap();
    drop(lease);
    assert_eq!(tracker.wait(clock::after(clock::now(), TTL)).await, 0);
    assert!(registry.nodes().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn r8_a_ghost_does_not_remove_its_restarted_twin() {
    let registry = Arc::new(Recorder::default());
    let (ghost, _tracker) = start(&registry);
    ghost.registered().await.unwrap();
    registry.memory.register(&record("127.0.0.1:2"), TTL).await.unwrap();
    ghost.close().await.unwrap();
    assert_eq!(registry.nodes().await[0].address, "127.0.0.1:2");
}

#[tokio::test(start_paused = true)]
async fn r18_what_nobody_could_reach_is_refused_at_start() {
    let tracker = TaskTracker::new();
    let begin = |record: Record, ttl, heartbeat| {
        let registry = Arc::new(Memory::new());
        Lease::start(registry, record, &limits(ttl, heartbeat), &tracker)
            .map(drop)
            .unwrap_err()
            .code()
    };
    assert_eq!(begin(record("0.0.0.0:80"), TTL, HEARTBEAT), 400);
    assert_eq!(begin(record("127.0.0.1:80"), TTL, TTL), 400);
    assert_eq!(begin(record("127.0.0.1:80"), TTL, Duration::ZERO), 400);
    assert!(tracker.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_limits_that_are_given_hold() {
    let registry = Arc::new(Recorder::default());
    let tracker = TaskTracker::new();
    let mut limits = limits(TTL, HEARTBEAT);
    limits.registry.heartbeat_jitter_percent = 0;
    limits.shutdown.close_timeout = Duration::from_secs(1);
    let shared = Arc::<Recorder>::clone(&registry);
    let lease = Lease::start(shared, record("127.0.0.1:1"), &limits, &tracker).unwrap();
    lease.registered().await.unwrap();
    clock::sleep(HEARTBEAT * 4 + HEARTBEAT / 2).await;
    let beats: Vec<_> = registry.log.lock().unwrap().iter().map(|entry| entry.1).collect();
    assert_eq!(beats.len(), 5);
    assert!(beats.windows(2).all(|pair| pair[1] - pair[0] == HEARTBEAT));
    registry.hangs.store(true, Ordering::SeqCst);
    let began = clock::now();
    assert!(lease.close().await.is_err());
    assert_eq!(clock::now() - began, limits.shutdown.close_timeout);
    let mut long = record("127.0.0.1:1");
    long.nodes[0].metadata.insert("k".into(), "v".repeat(99));
    limits.registry.node_metadata_bytes_max = 99;
    let shared = Arc::<Recorder>::clone(&registry);
    assert_eq!(Lease::start(shared, long, &limits, &tracker).unwrap_err().code(), 413);
}

#[derive(Clone, Debug)]
enum Step {
    Ready,
    NotReady,
    Down,
    Up,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::Ready),
        Just(Step::NotReady),
        Just(Step::Down),
        Just(Step::Up),
        (1_u64..20_000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A failing check must take the node away and keep it away: never in and out by turns.
    #[test]
    fn r1_registration_follows_readiness_alone(steps in steps()) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let registry = Arc::new(Recorder::default());
            let (lease, _tracker) = start(&registry);
            let mut ready = true;
            for step in steps {
                let registers = registry.count("register");
                let was_ready = ready;
                match step {
                    Step::Ready => { lease.set_ready(); ready = true; }
                    Step::NotReady => { lease.set_not_ready(); ready = false; }
                    Step::Down => registry.down.store(true, Ordering::SeqCst),
                    Step::Up => registry.down.store(false, Ordering::SeqCst),
                    Step::Wait(millis) => clock::sleep(Duration::from_millis(millis)).await,
                }
                clock::sleep(Duration::from_millis(1)).await;
                if !was_ready && !ready {
                    assert_eq!(registry.count("register"), registers, "a node away stays away");
                }
            }
            registry.down.store(false, Ordering::SeqCst);
            clock::sleep(Duration::from_secs(10)).await;
            assert_eq!(registry.nodes().await.len(), usize::from(ready));
            assert_eq!(lease.is_registered(), ready);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_stopped_has_lapsed_until_it_is_registered_again() {
    let registry = Arc::new(Recorder::default());
    let (lease, _tracker) = start(&registry);
    lease.registered().await.unwrap();
    // Stopped: time passes and nothing runs. The first write after it takes its time.
    registry.hangs.store(true, Ordering::SeqCst);
    let longest = TTL.max(HEARTBEAT * 2 + WRITE_TIMEOUT);
    for (stopped, lapsed) in [(longest, false), (longest + HEARTBEAT, true), (longest * 10, true)] {
        assert_eq!(lease.is_lapsed(clock::now() + stopped), lapsed, "{stopped:?}");
    }
    let thawed = clock::now() + longest * 4;
    assert!(lease.is_lapsed(thawed));
    tokio::time::advance(longest * 4).await;
    registry.hangs.store(false, Ordering::SeqCst);
    assert!(lease.is_lapsed(clock::now()), "what was queued is refused");
    // The write that hung is given up, the next one succeeds.
    clock::sleep(WRITE_TIMEOUT + BACKOFF_MAX).await;
    assert!(!lease.is_lapsed(clock::now()) && lease.is_registered());
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_fails_or_hangs_is_no_lapse_and_neither_is_a_node_that_is_away() {
    let registry = Arc::new(Recorder::default());
    let (lease, _tracker) = start(&registry);
    lease.registered().await.unwrap();
    for broken in [&registry.down, &registry.hangs] {
        broken.store(true, Ordering::SeqCst);
        for _ in 0..3600 {
            clock::sleep(Duration::from_secs(1)).await;
            assert!(!lease.is_lapsed(clock::now()));
        }
        assert!(!lease.is_registered());
        broken.store(false, Ordering::SeqCst);
        clock::sleep(Duration::from_secs(10)).await;
        assert!(lease.is_registered());
    }
    lease.set_not_ready();
    clock::sleep(Duration::from_secs(3600)).await;
    assert!(!lease.is_lapsed(clock::now()));
}
