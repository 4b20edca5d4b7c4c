//! The cache against a registry that fails, forgets and returns.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use proptest::prelude::*;
use tokio::sync::mpsc;

use super::*;
use crate::core::clock;
use crate::core::error::Error;
use crate::registry::Event;
use crate::registry::Memory;
use crate::registry::record::{Endpoint, Node};
use crate::testkit::Faulty;

const TTL: Duration = Duration::from_secs(3600);

fn record(id: &str) -> Record {
    let node = Node { id: id.into(), address: "127.0.0.1:1".into(), ..Node::default() };
    Record { name: "greeter".into(), nodes: vec![node], ..Record::default() }
}

/// A registry that can be down or forgetful and counts what it is asked.
#[derive(Debug, Default)]
struct Fragile {
    memory: Memory,
    down: AtomicBool,
    forgetful: AtomicBool,
    unwatchable: bool,
    /// A service of which nothing can be learned.
    broken: &'static str,
    watches: AtomicUsize,
    lookups: AtomicUsize,
    /// Senders of open watches, so that they can be ended.
    open: Mutex<Vec<mpsc::Sender<Event>>>,
}

impl Fragile {
    fn check(&self, service: &str) -> Result<()> {
        if self.down.load(Ordering::SeqCst) || (service == self.broken && !service.is_empty()) {
            return Err(Error::unavailable("test", "the registry is down"));
        }
        Ok(())
    }

    fn end_watches(&self) {
        self.open.lock().unwrap().clear();
    }
}

impl Registry for Fragile {
    fn name(&self) -> &'static str {
        "fragile"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { watch: !self.unwatchable, ..self.memory.capabilities() }
    }

    fn register<'a>(&'a self, record: &'a Record, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        self.memory.register(record, ttl)
    }

    fn deregister<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<()>> {
        self.memory.deregister(record)
    }

    fn lookup<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<Option<Vec<Record>>>> {
        Box::pin(async move {
            self.lookups.fetch_add(1, Ordering::SeqCst);
            self.check(service)?;
            if self.forgetful.load(Ordering::SeqCst) {
                return Ok(None);
            }
            self.memory.lookup(service).await
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async move {
            self.check("")?;
            self.memory.list().await
        })
    }

    fn watch<'a>(&'a self, service: Option<&'a str>) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(async move {
            self.watches.fetch_add(1, Ordering::SeqCst);
            self.check(service.unwrap_or_default())?;
            let (sender, receiver) = mpsc::channel(1024);
            if self.forgetful.load(Ordering::SeqCst) {
                sender.try_send(Event::Reset(vec![])).unwrap();
                self.open.lock().unwrap().push(sender);
                return Ok(Watch::new(receiver, ()));
            }
            let mut inner = self.memory.watch(service).await?;
            self.open.lock().unwrap().push(sender.clone());
            let weak = sender.downgrade();
            drop(sender);
            let driver = async move {
                while let Some(event) = inner.next().await {
                    let Some(sender) = weak.upgrade() else { return };
                    if sender.send(event).await.is_err() {
                        return;
                    }
                }
            };
            Ok(Watch::driven(receiver, (), driver))
        })
    }
}

fn setup(fragile: Fragile) -> (Arc<Fragile>, Cached) {
    let fragile = Arc::new(fragile);
    let cached = Cached::new(Arc::<Fragile>::clone(&fragile), TaskTracker::new());
    (fragile, cached)
}

fn setup_faulty() -> (Faulty<Memory>, Cached) {
    let faulty = Faulty::new(Memory::new());
    let cached = Cached::new(Arc::new(faulty.clone()), TaskTracker::new());
    (faulty, cached)
}

#[tokio::test(start_paused = true)]
async fn r6_callers_share_one_watch_and_follow_changes() {
    let (fragile, cached) = setup(Fragile::default());
    let (a, b) = (cached.view("greeter"), cached.view("greeter"));
    assert!(Arc::ptr_eq(&a, &b));
    assert_eq!(a.load().revision, 0);
    let (first, second) = tokio::join!(a.ready(), b.ready());
    assert!(first.unwrap().is_empty() && second.unwrap().is_empty());

    fragile.register(&record("1"), TTL).await.unwrap();
    let snapshot = a.changed(1).await.unwrap();
    assert_eq!((snapshot.revision, &*snapshot.instances[0].id), (2, "1"));
    assert_eq!(a.load().instances.len(), 1);
    fragile.deregister(&record("1")).await.unwrap();
    assert!(a.changed(2).await.unwrap().is_empty());
    assert_eq!(fragile.watches.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn r3_a_service_that_cannot_be_looked_up_holds_up_no_other() {
    let (fragile, cached) = setup(Fragile { broken: "broken", ..Fragile::default() });
    let (broken, greeter) = (cached.view("broken"), cached.view("greeter"));
    fragile.register(&record("1"), TTL).await.unwrap();
    assert_eq!(broken.ready().await.unwrap_err().code(), 503);
    let first = greeter.ready().await.unwrap();
    assert_eq!(first.instances.len(), 1);
    fragile.deregister(&record("1")).await.unwrap();
    assert!(greeter.changed(first.revision).await.unwrap().is_empty());
    // What somebody holds does not change under their hands.
    assert_eq!(first.instances.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_registry_down_at_start_is_an_error_and_its_return_is_noticed() {
    let (faulty, cached) = setup_faulty();
    faulty.register(&record("1"), TTL).await.unwrap();
    faulty.down();
    let view = cached.view("greeter");
    assert_eq!(view.ready().await.unwrap_err().code(), 503);
    assert_eq!(cached.lookup("greeter").await.unwrap_err().code(), 503);
    clock::sleep(Duration::from_secs(600)).await;
    assert!(faulty.asked() < 3000, "retries back off");

    faulty.up();
    let start = clock::now();
    assert_eq!(view.wait_for_instances().await.unwrap().instances.len(), 1);
    assert!(clock::now() - start <= Duration::from_secs(2));
    assert_eq!(view.stale_for(), None);
}

#[tokio::test(start_paused = true)]
async fn the_last_snapshot_is_served_for_as_long_as_the_registry_fails() {
    let (faulty, cached) = setup_faulty();
    faulty.register(&record("1"), TTL).await.unwrap();
    let view = cached.view("greeter");
    view.ready().await.unwrap();
    faulty.down();
    clock::sleep(Duration::from_secs(3000)).await;
    assert_eq!(view.ready().await.unwrap().instances.len(), 1);
    assert_eq!(cached.lookup("greeter").await.unwrap().unwrap().len(), 1);
    assert!(view.stale_for().unwrap() > Duration::from_secs(2990));
    assert_eq!(view.failure().unwrap().code(), 503);
}

#[tokio::test(start_paused = true)]
async fn r12_a_registry_that_forgets_everything_is_not_believed_at_once() {
    let (fragile, cached) = setup(Fragile::default());
    fragile.register(&record("1"), TTL).await.unwrap();
    let view = cached.view("greeter");
    view.ready().await.unwrap();
    fragile.forgetful.store(true, Ordering::SeqCst);
    fragile.end_watches();
    clock::sleep(Duration::from_secs(4)).await;
    assert_eq!(view.load().instances.len(), 1);
    clock::sleep(Duration::from_secs(4)).await;
    assert!(view.load().is_empty(), "confirmed by a second answer");
}

/// A service and a node are two names, and a snapshot is another one when any part of a record is.
#[tokio::test(start_paused = true)]
async fn r7_every_part_of_a_record_counts_and_names_do_not_run_together() {
    let (fragile, cached) = setup(Fragile::default());
    let view = cached.view("greeter");
    let mut revision = view.ready().await.unwrap().revision;
    let mut present = record("1");
    let changes: [fn(&mut Record); 6] = [
        |_| {},
        |record| record.version = "2".into(),
        |record| {
            record.endpoints.push(Endpoint { name: "Greeter.More".into(), ..Endpoint::default() });
        },
        |record| {
            let facts = &mut record.endpoints[0].metadata;
            facts.insert("description".into(), "Says more.".into());
        },
        |record| {
            record.nodes[0].metadata.insert("zone".into(), "a".into());
        },
        |record| record.nodes[0].address = "127.0.0.1:2".into(),
    ];
    for change in changes {
        change(&mut present);
        fragile.register(&present, TTL).await.unwrap();
        let moved = clock::timeout(Duration::from_secs(5), view.changed(revision)).await;
        let snapshot = moved.expect("every change is another revision").unwrap();
        assert!(snapshot.revision > revision);
        assert_eq!(snapshot.instances.to_vec(), present.instances());
        revision = snapshot.revision;
    }
    fragile.register(&present, TTL).await.unwrap();
    let moved = clock::timeout(Duration::from_secs(5), view.changed(revision)).await;
    assert!(moved.is_err(), "a renewal is no change");

    for (service, node) in [("ab", "c"), ("a", "bc")] {
        fragile.register(&Record { name: service.into(), ..record(node) }, TTL).await.unwrap();
    }
    fragile.deregister(&Record { name: "a".into(), ..record("bc") }).await.unwrap();
    let left = cached.view("ab").wait_for_instances().await.unwrap();
    assert_eq!((left.instances.len(), &*left.instances[0].id), (1, "c"));
    assert!(cached.view("a").ready().await.unwrap().is_empty());
}

/// Some backends answer a lookup from a member that is behind. Readers go by the watch, which never
/// goes back, and learn how old its word is.
#[tokio::test(start_paused = true)]
async fn r10_readers_go_by_the_watch_and_its_age_shows() {
    let (fragile, cached) = setup(Fragile::default());
    fragile.register(&record("1"), TTL).await.unwrap();
    let view = cached.view("greeter");
    view.ready().await.unwrap();
    // From here on lookups are answered as of before the node came.
    fragile.forgetful.store(true, Ordering::SeqCst);
    assert_eq!(cached.lookup("greeter").await.unwrap().unwrap().len(), 1);
    assert_eq!((view.stale_for(), fragile.lookups.load(Ordering::SeqCst)), (None, 0));
    let revision = view.revision();
    fragile.down.store(true, Ordering::SeqCst);
    fragile.end_watches();
    clock::sleep(Duration::from_secs(60)).await;
    assert!(view.stale_for().unwrap() > Duration::from_secs(50));
    assert_eq!(cached.lookup("greeter").await.unwrap().unwrap().len(), 1);
    // What is told after the gap counts, and as the latest.
    fragile.register(&record("2"), TTL).await.unwrap();
    fragile.forgetful.store(false, Ordering::SeqCst);
    fragile.down.store(false, Ordering::SeqCst);
    let resumed = view.changed(revision).await.unwrap();
    assert_eq!((resumed.instances.len(), view.stale_for()), (2, None));
    assert!(resumed.revision > revision);
}

#[tokio::test(start_paused = true)]
async fn a_forgetful_moment_is_survived() {
    let (fragile, cached) = setup(Fragile::default());
    fragile.register(&record("1"), TTL).await.unwrap();
    let view = cached.view("greeter");
    view.ready().await.unwrap();
    fragile.forgetful.store(true, Ordering::SeqCst);
    fragile.end_watches();
    clock::sleep(Duration::from_secs(3)).await;
    fragile.forgetful.store(false, Ordering::SeqCst);
    clock::sleep(Duration::from_secs(60)).await;
    assert_eq!((view.load().instances.len(), view.load().revision), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_gets_the_first_node_even_if_its_announcement_is_lost() {
    let (fragile, cached) = setup(Fragile::default());
    let view = cached.view("greeter");
    view.ready().await.unwrap();
    fragile.forgetful.store(true, Ordering::SeqCst);
    fragile.end_watches();
    clock::sleep(Duration::from_secs(10)).await;
    let start = clock::now();
    let late = async {
        clock::sleep(Duration::from_secs(7)).await;
        fragile.register(&record("1"), TTL).await.unwrap();
        fragile.forgetful.store(false, Ordering::SeqCst);
    };
    let (found, ()) = tokio::join!(view.wait_for_instances(), late);
    assert_eq!(found.unwrap().instances.len(), 1);
    assert!(clock::now() - start <= Duration::from_secs(9), "{:?}", clock::now() - start);
}

#[tokio::test(start_paused = true)]
async fn a_backend_without_watch_is_polled() {
    let (fragile, cached) = setup(Fragile { unwatchable: true, ..Fragile::default() });
    let view = cached.view("greeter");
    assert!(view.ready().await.unwrap().is_empty());
    fragile.register(&record("1"), TTL).await.unwrap();
    let start = clock::now();
    view.changed(1).await.unwrap();
    assert!(clock::now() - start <= cached.capabilities().propagation);
    assert_eq!(fragile.watches.load(Ordering::SeqCst), 0);
    // Somebody who waits is served sooner.
    fragile.deregister(&record("1")).await.unwrap();
    clock::sleep(Duration::from_secs(60)).await;
    let (start, twin) = (clock::now(), record("2"));
    let (found, registered) =
        tokio::join!(view.wait_for_instances(), fragile.memory.register(&twin, TTL));
    registered.unwrap();
    assert_eq!(&*found.unwrap().instances[0].id, "2");
    assert!(clock::now() - start <= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_unused_view_is_dropped_and_a_held_one_is_not() {
    let (fragile, cached) = setup(Fragile::default());
    let held = cached.view("held");
    cached.view("greeter").ready().await.unwrap();
    assert_eq!(cached.shared.views().len(), 2);
    clock::sleep(Duration::from_secs(100)).await;
    assert_eq!(cached.shared.views().keys().collect::<Vec<_>>(), ["held"]);
    assert_eq!(cached.shared.tracker.len(), 1);
    held.ready().await.unwrap();
    drop((held, cached));
    clock::sleep(Duration::from_millis(1)).await;
    assert_eq!(Arc::strong_count(&fragile), 1, "nothing is left behind");
}

#[tokio::test(start_paused = true)]
async fn a_shut_down_cache_says_so_instead_of_hanging() {
    let (_fragile, cached) = setup(Fragile::default());
    let view = cached.view("greeter");
    view.ready().await.unwrap();
    let stop = async {
        clock::sleep(Duration::from_secs(1)).await;
        cached.shared.tracker.abort_all();
    };
    let (waited, changed, ()) = tokio::join!(view.wait_for_instances(), view.changed(1), stop);
    assert_eq!((waited.unwrap_err().code(), changed.unwrap_err().code()), (503, 503));
    view.ready().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn waiting_can_be_given_up_at_any_poll() {
    let (_fragile, cached) = setup(Fragile::default());
    let view = cached.view("greeter");
    for polls in 0..10 {
        let wait = clock::timeout(Duration::from_millis(polls), view.wait_for_instances());
        assert!(wait.await.is_err());
        assert!(!view.is_awaited(), "no waiter is left behind");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_survives_an_outage() {
    let (fragile, cached) = setup(Fragile::default());
    fragile.register(&record("1"), TTL).await.unwrap();
    assert_eq!(cached.list().await.unwrap(), ["greeter"]);
    fragile.down.store(true, Ordering::SeqCst);
    assert_eq!(cached.list().await.unwrap(), ["greeter"]);
}

#[derive(Clone, Debug)]
enum Step {
    Register(u8),
    Deregister(u8),
    Down,
    Up,
    Forget,
    Remember,
    EndWatches,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_u8..8).prop_map(Step::Register),
        2 => (0_u8..8).prop_map(Step::Deregister),
        1 => Just(Step::Down),
        1 => Just(Step::Up),
        1 => Just(Step::Forget),
        1 => Just(Step::Remember),
        2 => Just(Step::EndWatches),
        4 => (1_u64..8_000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever fails in between, once the registry answers again the view is what it holds.
    #[test]
    fn a_view_converges_to_the_registry(steps in steps(), unwatchable in any::<bool>()) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let (fragile, cached) = setup(Fragile { unwatchable, ..Fragile::default() });
            let view = cached.view("greeter");
            for step in steps {
                match step {
                    Step::Register(id) => {
                        fragile.register(&record(&id.to_string()), TTL).await.unwrap();
                    }
                    Step::Deregister(id) => {
                        fragile.deregister(&record(&id.to_string())).await.unwrap();
                    }
                    Step::Down => fragile.down.store(true, Ordering::SeqCst),
                    Step::Up => fragile.down.store(false, Ordering::SeqCst),
                    Step::Forget => fragile.forgetful.store(true, Ordering::SeqCst),
                    Step::Remember => fragile.forgetful.store(false, Ordering::SeqCst),
                    Step::EndWatches => fragile.end_watches(),
                    Step::Wait(millis) => clock::sleep(Duration::from_millis(millis)).await,
                }
            }
            fragile.down.store(false, Ordering::SeqCst);
            fragile.forgetful.store(false, Ordering::SeqCst);
            fragile.end_watches();
            clock::sleep(Duration::from_secs(30)).await;
            assert_eq!(view.records(), fragile.memory.lookup("greeter").await.unwrap());
            assert_eq!(view.stale_for(), None);
        });
    }
}
