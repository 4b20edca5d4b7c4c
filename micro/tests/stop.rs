//! The end of a process: what it waits for, in which order, and what it says was cut.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use micro::Report;
use micro::core::future::BoxFuture;
use micro::core::limits::{Limits, ShutdownLimits};
use micro::prelude::*;
use micro::registry::{self, Capabilities, Record, Registry, Watch};
use micro::service::Wiring;
use micro::transport;
use tokio::sync::Notify;
use tokio::time::Instant;

const FIRST: Topic<u32> = Topic::new("first");
const SECOND: Topic<u32> = Topic::new("second");

/// An event whose handler never ends.
const ENDLESS: u32 = u32::MAX;

/// Does its work when it is told to.
#[derive(Clone, Debug, Default)]
struct Steps {
    entered: Arc<Notify>,
    go_on: Arc<Notify>,
    done: Arc<AtomicUsize>,
}

#[service]
struct Worker {
    broker: Broker,
    #[wire(default)]
    steps: Steps,
}

#[service(name = "worker")]
impl Worker {
    /// Publishes an event to both topics in the middle of a call.
    #[handler]
    async fn publish(&self, event: u32) -> Result<()> {
        self.steps.entered.notify_one();
        self.steps.go_on.notified().await;
        self.broker.publish(&FIRST, &event).await?;
        self.broker.publish(&SECOND, &event).await
    }

    /// Answers when it is told to.
    #[handler]
    async fn hold(&self) -> Result<()> {
        self.steps.entered.notify_one();
        self.steps.go_on.notified().await;
        Ok(())
    }

    /// Answers at once and goes on in a task.
    #[handler]
    async fn spawn(&self, ctx: &Context) -> Result<()> {
        let steps = self.steps.clone();
        ctx.spawn(async move {
            steps.go_on.notified().await;
            steps.done.fetch_add(1, Ordering::SeqCst);
        });
        Ok(())
    }

    /// Handles an event slowly and makes another one of it.
    #[subscriber(topic = FIRST, queue = "worker")]
    async fn on_first(&self, event: u32) -> Result<()> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.broker.publish(&SECOND, &event).await
    }

    #[subscriber(topic = SECOND, queue = "worker")]
    async fn on_second(&self, event: u32) -> Result<()> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if event == ENDLESS {
            std::future::pending::<()>().await;
        }
        self.steps.done.fetch_add(usize::try_from(event).unwrap(), Ordering::SeqCst);
        Ok(())
    }
}

fn hermetic() -> Service {
    Service::new("test")
        .no_env()
        .registry(registry::Memory::new())
        .transport(transport::Memory::default())
}

/// Starts a worker and keeps what it is steered by.
async fn start(service: Service) -> (Running, WorkerClient, Steps) {
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    let service = service.wire::<Worker>().before_start(async move |scope: Wiring| {
        *keep.lock().unwrap() = Some(scope.shared::<Worker>().await?.steps.clone());
        Ok(())
    });
    let running = service.start().await.unwrap();
    let client = running.client();
    let steps = kept.lock().unwrap().take().unwrap();
    (running, client, steps)
}

#[tokio::test(start_paused = true)]
async fn events_that_wait_at_a_stop_are_handled_by_its_end() {
    let (running, _, steps) = start(hermetic()).await;
    for event in 1..=4 {
        running.broker().publish(&FIRST, &event).await.unwrap();
    }
    assert_eq!(steps.done.load(Ordering::SeqCst), 0, "nothing is handled before the stop");
    let report = running.stop().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(steps.done.load(Ordering::SeqCst), 10);
}

#[tokio::test(start_paused = true)]
async fn events_of_a_call_in_flight_at_a_stop_are_handled_by_its_end() {
    let handed = || hermetic().broker(micro::broker::Memory::new());
    // What event handlers publish in turn is handled too by a broker that ends with the process.
    for (service, handled) in [(hermetic(), 14), (handed(), 7)] {
        let (running, client, steps) = start(service).await;
        let call = client.publish(7);
        let (called, report) = tokio::join!(call, async {
            steps.entered.notified().await;
            let finishing = async {
                // Longer than the lame duck: the process takes no more work by then.
                tokio::time::sleep(Duration::from_secs(8)).await;
                steps.go_on.notify_one();
            };
            tokio::join!(running.stop(), finishing).0
        });
        called.unwrap();
        assert!(report.is_clean(), "{report}");
        let done = steps.done.load(Ordering::SeqCst);
        assert!(done >= handled, "{done} of {handled}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_not_handled_in_time_is_no_clean_stop() {
    let (running, _, _steps) = start(hermetic()).await;
    running.broker().publish(&FIRST, &ENDLESS).await.unwrap();
    let began = Instant::now();
    let report = running.stop().await;
    assert_eq!(report.cut_subscriptions, 1, "{report}");
    assert!(!report.is_clean());
    assert!(began.elapsed() <= Duration::from_secs(40), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_task_of_a_handler_is_finished_by_the_end_of_a_stop() {
    let (running, client, steps) = start(hermetic()).await;
    client.spawn().await.unwrap();
    let finishing = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        steps.go_on.notify_one();
    };
    let (report, ()) = tokio::join!(running.stop(), finishing);
    assert!(report.is_clean(), "{report}");
    assert_eq!(steps.done.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_of_a_handler_that_does_not_end_is_cut_and_counted() {
    let (running, client, _steps) = start(hermetic()).await;
    client.spawn().await.unwrap();
    client.spawn().await.unwrap();
    let report = running.stop().await;
    assert_eq!((report.cut, report.cut_tasks), (0, 2), "{report}");
    assert!(!report.is_clean());
    assert!(report.to_string().contains("2 tasks cut"), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_in_time_whatever_hooks_and_calls_do() {
    let endless = async |_: Running| std::future::pending().await;
    let service = hermetic().before_stop(endless).before_stop(endless).before_stop(endless);
    let (running, client, steps) = start(service).await;
    let call = client.publish(1).timeout(Duration::from_secs(600));
    let began = Instant::now();
    let (called, report) = tokio::join!(call, async {
        steps.entered.notified().await;
        running.stop().await
    });
    called.unwrap_err();
    assert_eq!(report.cut, 1, "{report}");
    assert!(began.elapsed() <= Duration::from_secs(40), "{:?}", began.elapsed());
}

/// A registry that takes its time to write and to tell of it.
#[derive(Debug)]
struct Slow {
    memory: registry::Memory,
    write: Duration,
    propagation: Duration,
}

const WRITE: Duration = Duration::from_secs(1);

impl Registry for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.memory.capabilities();
        capabilities.propagation = self.propagation;
        capabilities
    }

    fn register<'a>(&'a self, record: &'a Record, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.take_time().await;
            self.memory.register(record, ttl).await
        })
    }

    fn deregister<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.take_time().await;
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

impl Slow {
    async fn take_time(&self) {
        if !self.write.is_zero() {
            tokio::time::sleep(self.write).await;
        }
    }
}

macro_rules! services {
    ($($name:ident)*) => {$(
        #[derive(Debug)]
        struct $name;

        #[service]
        impl $name {
            #[handler]
            async fn nothing(&self) -> Result<()> {
                Ok(())
            }
        }
    )*};
}

services! { One Two Three Four Five Six Seven Eight }

#[tokio::test(start_paused = true)]
async fn a_slow_registry_forgets_all_services_and_not_only_the_first() {
    let memory = registry::Memory::new();
    let slow = Slow { memory: memory.clone(), write: WRITE, propagation: Duration::ZERO };
    let service = hermetic().registry(slow);
    let service = service.mount(One).mount(Two).mount(Three).mount(Four);
    let running = service.mount(Five).mount(Six).mount(Seven).mount(Eight).start().await.unwrap();
    assert_eq!(memory.list().await.unwrap().len(), 8);
    let began = Instant::now();
    assert!(running.stop().await.is_clean());
    assert_eq!(memory.list().await.unwrap(), [""; 0]);
    assert!(began.elapsed() < WRITE * 4, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_in_time_whatever_the_last_hooks_do() {
    let endless = || std::future::pending();
    let service = hermetic().after_stop(endless).after_stop(endless);
    let (running, _client, _steps) = start(service).await;
    let began = Instant::now();
    let report = running.stop().await;
    assert!(report.is_clean(), "{report}");
    assert!(began.elapsed() <= Duration::from_secs(10), "{:?}", began.elapsed());
}

/// So far from a limit is just before or just after it.
const NEAR: Duration = Duration::from_millis(50);

/// So much later than its limit a phase may end, for what is done at its end.
const SLACK: Duration = Duration::from_millis(40);

/// A service with limits of its own.
fn limited(service: Service, change: impl FnOnce(&mut ShutdownLimits)) -> Service {
    let mut limits = Limits::default();
    change(&mut limits.shutdown);
    service.limits(limits)
}

/// Stops a process; returns its report and how long that took.
async fn timed(running: &Running) -> (Report, Duration) {
    let began = Instant::now();
    let report = running.stop().await;
    (report, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn l28_a_stop_serves_on_for_its_lame_duck_and_no_longer() {
    for limit in [Duration::from_secs(1), Duration::from_secs(10)] {
        let (memory, propagation) = (registry::Memory::new(), Duration::from_secs(3600));
        let service = hermetic().registry(Slow { memory, write: Duration::ZERO, propagation });
        let service = limited(service, |limits| limits.lame_duck = limit);
        let (running, client, steps) = start(service).await;
        let calling = async {
            tokio::time::sleep(limit - NEAR).await;
            steps.go_on.notify_one();
            client.hold().await
        };
        let ((report, took), called) = tokio::join!(timed(&running), calling);
        called.unwrap();
        assert!(report.is_clean(), "{report}");
        assert!((limit..=limit + SLACK).contains(&took), "{took:?} of {limit:?}");
    }
}

/// What ends just before the limit, just after it and far after it.
#[tokio::test(start_paused = true)]
async fn l28_calls_and_their_tasks_have_their_time_to_drain_and_no_more() {
    for limit in [Duration::from_secs(2), Duration::from_secs(20)] {
        for needs in [limit - NEAR, limit + NEAR, limit * 10] {
            let service = limited(hermetic(), |limits| {
                limits.lame_duck = Duration::ZERO;
                limits.drain_timeout = limit;
            });
            let (running, client, steps) = start(service).await;
            client.spawn().await.unwrap();
            let call = client.hold().timeout(Duration::from_secs(600));
            let stopping = async {
                steps.entered.notified().await;
                let ending = async {
                    tokio::time::sleep(needs).await;
                    steps.go_on.notify_waiters();
                };
                tokio::join!(timed(&running), ending).0
            };
            let (called, (report, took)) = tokio::join!(call, stopping);
            let found = (report.finished, report.cut, report.cut_tasks);
            if needs < limit {
                called.unwrap();
                assert_eq!(found, (1, 0, 0), "{report}");
                assert_eq!(steps.done.load(Ordering::SeqCst), 1);
            } else {
                called.unwrap_err();
                assert_eq!(found, (0, 1, 1), "{report}");
                assert!((limit..=limit + SLACK).contains(&took), "{took:?} of {limit:?}");
            }
        }
    }
}

/// A hook that ends just before the limit, just after it and far after it.
#[tokio::test(start_paused = true)]
async fn l28_the_last_hooks_have_their_time_to_close_and_no_more() {
    for limit in [Duration::from_secs(2), Duration::from_secs(20)] {
        for needs in [limit - NEAR, limit + NEAR, limit * 10] {
            let ended = Arc::new(AtomicBool::new(false));
            let kept = Arc::clone(&ended);
            let service = limited(hermetic(), |limits| {
                limits.lame_duck = Duration::ZERO;
                limits.close_timeout = limit;
            });
            let service = service.after_stop(move || async move {
                tokio::time::sleep(needs).await;
                kept.store(true, Ordering::SeqCst);
                Ok(())
            });
            let (running, _client, _steps) = start(service).await;
            let (report, took) = timed(&running).await;
            assert!(report.is_clean(), "{report}");
            assert_eq!(ended.load(Ordering::SeqCst), needs < limit, "{needs:?} of {limit:?}");
            let least = needs.min(limit);
            assert!((least..=least + SLACK).contains(&took), "{took:?} of {limit:?}");
        }
    }
}
