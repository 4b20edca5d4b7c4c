//! What processes show of themselves: one call across two of them, the log, health, panics.

use std::sync::Arc;
use std::time::Duration;

use micro::core::clock;
use micro::core::context::Parts;
use micro::core::limits::Limits;
use micro::core::trace::Trace;
use micro::debug::{
    Check, Dump, HealthReport, LogQuery, Memory, Profile, ProfileRequest, Record, Recorder, Span,
    SpanKind, SpanQuery, Stats, Status,
};
use micro::prelude::*;
use micro::service::observe::{LogRequest, Spans};
use micro::{Topic, registry};

const PLACED: Topic<u32> = Topic::new("orders.placed");

struct Stock;

#[service(name = "stock")]
impl Stock {
    #[handler]
    async fn take(&self, count: u32) -> Result<u32> {
        if count > 9 {
            return Err(Error::conflict("stock", "sold out"));
        }
        Ok(count)
    }
}

#[service]
struct Shop {
    stock: StockClient,
    events: Broker,
}

#[service(name = "shop")]
impl Shop {
    #[handler]
    async fn buy(&self, count: u32) -> Result<u32> {
        let taken = self.stock.take(count).await?;
        self.events.publish(&PLACED, &taken).await?;
        Ok(taken)
    }

    #[handler]
    async fn break_down(&self) -> Result<()> {
        panic!("on purpose");
    }

    #[subscriber(topic = PLACED)]
    async fn on_placed(&self, count: u32) -> Result<()> {
        let _ = count;
        Ok(())
    }
}

struct World {
    shop: Running,
    stock: Running,
}

async fn world() -> World {
    let registry = Arc::new(registry::Memory::new());
    let service = |name: &str| {
        Service::new(name).no_env().shared_registry(Arc::<registry::Memory>::clone(&registry))
    };
    let stock = service("stock").mount(Stock).start().await.unwrap();
    let shop = service("market").wire::<Shop>().start().await.unwrap();
    World { shop, stock }
}

impl World {
    async fn stop(self) {
        self.shop.stop().await;
        self.stock.stop().await;
    }
}

/// What every service answers, as a contract.
#[service(name = "shop")]
trait Debug {
    #[handler]
    async fn health(&self) -> Result<HealthReport>;
    #[handler]
    async fn stats(&self) -> Result<Stats>;
    #[handler]
    async fn log(&self, request: LogRequest) -> Result<Streaming<Record>>;
    #[handler]
    async fn trace(&self, query: SpanQuery) -> Result<Spans>;
    #[handler]
    async fn dump(&self) -> Result<Dump>;
    #[handler]
    async fn profile(&self, request: ProfileRequest) -> Result<Profile>;
}

fn find<'a>(spans: &'a [Span], name: &str, kind: SpanKind) -> &'a Span {
    let found = spans.iter().find(|span| span.name == name && span.kind == kind);
    found.unwrap_or_else(|| panic!("no {kind:?} {name} in {spans:?}"))
}

#[tokio::test]
async fn one_call_across_two_processes_is_one_trace_and_its_spans_hang_together() {
    let world = world().await;
    let (shop, debug): (ShopClient, DebugClient) = (world.shop.client(), world.shop.client());
    let root = Trace::root();
    let mut parts = Parts::default();
    parts.trace = Some(root);
    let context = Context::from_parts(parts);
    shop.buy(3).context(&context).await.unwrap();

    let id = format!("{:032x}", root.trace_id());
    let deadline = clock::after(clock::now(), Duration::from_secs(10));
    let own = loop {
        let spans = debug.trace(SpanQuery::of(id.clone())).await.unwrap().spans;
        if spans.len() == 4 || clock::now() > deadline {
            break spans;
        }
        world.shop.monitor().recorder().flush().await.unwrap();
        tokio::task::yield_now().await;
        clock::sleep(Duration::from_millis(400)).await;
    };
    assert_eq!(own.len(), 4, "{own:?}");
    let asked = find(&own, "shop.Shop.Buy", SpanKind::Client);
    let bought = find(&own, "shop.Shop.Buy", SpanKind::Server);
    let took = find(&own, "stock.Stock.Take", SpanKind::Client);
    let placed = find(&own, "orders.placed", SpanKind::Subscriber);
    let there = world.stock.monitor().recorder().spans(&SpanQuery::of(id)).await.unwrap();
    let taken = find(&there, "stock.Stock.Take", SpanKind::Server);
    let edges = [(bought, asked), (took, bought), (taken, took), (placed, bought)];
    for (child, parent) in edges {
        assert_eq!(child.parent, parent.id, "{child:?} is no child of {parent:?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_call_without_a_trace_gets_one_that_reaches_the_next_process() {
    let world = world().await;
    let shop: ShopClient = world.shop.client();
    shop.buy(10).await.unwrap_err();
    let there = world.stock.monitor().recorder().spans(&SpanQuery::default()).await.unwrap();
    let taken = find(&there, "stock.Stock.Take", SpanKind::Server);
    assert_eq!(taken.code, 409);
    let query = SpanQuery::of(taken.trace.clone());
    let own = world.shop.monitor().recorder().spans(&query).await.unwrap();
    assert_eq!(find(&own, "shop.Shop.Buy", SpanKind::Server).parent, "");
    world.stop().await;
}

#[tokio::test]
async fn every_service_tells_the_numbers_of_its_process() {
    let world = world().await;
    let (shop, debug): (ShopClient, DebugClient) = (world.shop.client(), world.shop.client());
    shop.buy(1).await.unwrap();
    shop.buy(10).await.unwrap_err();
    let stats = debug.stats().await.unwrap();
    assert_eq!(stats.name, "market");
    let buy = stats.endpoints.iter().find(|endpoint| endpoint.endpoint == "Shop.Buy").unwrap();
    assert_eq!((buy.outcomes.ok, buy.outcomes.rejected, buy.latency.count()), (1, 1, 2));
    assert!(stats.errors >= 1 && stats.requests >= 2 && stats.runtime.is_some(), "{stats:?}");
    let names: Vec<_> = stats.gauges.iter().map(|gauge| gauge.name.as_str()).collect();
    let own = ["in_flight", "connections", "tasks", "stalls"];
    let settings = ["config_reloads", "config_reload_failures"];
    let messages = ["published", "unrouted", "routed", "delivered", "acked", "retried", "dead"]
        .into_iter()
        .chain(["dropped", "returned", "lag"])
        .map(|count| format!("broker_{count}"));
    let wanted: Vec<_> =
        own.into_iter().chain(settings).map(str::to_owned).chain(messages).collect();
    assert_eq!(names, wanted);
    // Under the name of the process too, though nothing is registered by it.
    let client: Client = world.shop.client();
    let address = world.shop.address().to_string();
    let health: HealthReport =
        client.call("market", "Debug.Health", &()).to(&address).await.unwrap();
    assert!(health.ready);
    world.stop().await;
}

#[tokio::test]
async fn health_tells_what_is_wrong_and_the_process_is_not_ready() {
    let failing = || async { Err(Error::unavailable("mail", "no route to the host")) };
    let service = Service::new("stock").no_env().registry(registry::Memory::new());
    let running = service.mount(Stock).check(Check::new("mail", failing)).start().await.unwrap();
    let client: Client = running.client();
    let health: HealthReport = client.call("stock", "Debug.Health", &()).await.unwrap();
    assert_eq!((health.status, health.live, health.ready), (Status::Failing, true, false));
    assert_eq!(health.checks[0].detail, "no route to the host");
    running.stop().await;
}

#[tokio::test]
async fn the_log_is_followed_until_the_process_stops_and_holds_up_nothing() {
    let recorder = Memory::new();
    let service = Service::new("shop").no_env().registry(registry::Memory::new());
    let running = service.mount(Stock).recorder(recorder.clone()).start().await.unwrap();
    recorder.log(Record::new("till", "open"));
    let debug: DebugClient = running.client();
    let address = running.address().to_string();
    let request = LogRequest::new(LogQuery::default().with_target("till"));
    let once = debug.log(request.clone()).to(&address).await.unwrap().collect(10).await.unwrap();
    assert_eq!(once.len(), 1);
    let mut follow = debug.log(request.followed()).to(&address).await.unwrap();
    assert_eq!(follow.next().await.unwrap().unwrap().message, "open");
    recorder.log(Record::new("till", "closed"));
    assert_eq!(follow.next().await.unwrap().unwrap().message, "closed");
    let began = clock::now();
    let (report, last) = tokio::join!(running.stop(), follow.next());
    assert!(!matches!(last, Some(Ok(_))), "{last:?}");
    assert!(report.is_clean() && clock::now() - began < Duration::from_secs(5), "{report}");
}

#[tokio::test]
async fn answers_beyond_the_limit_are_refused_until_others_end() {
    const MAX: usize = 3;
    let mut limits = Limits::default();
    limits.debug.answers_max = MAX;
    limits.debug.questions_burst = 1000;
    let service = Service::new("shop").no_env().registry(registry::Memory::new()).limits(limits);
    let recorder = Memory::new();
    let running = service.mount(Stock).recorder(recorder.clone()).start().await.unwrap();
    recorder.log(Record::new("till", "open"));
    let debug: DebugClient = running.client();
    let address = running.address().to_string();
    let follow = || debug.log(LogRequest::default().followed()).to(&address).retries(0);
    let mut held = Vec::new();
    for _ in 0..MAX {
        let mut log = follow().await.unwrap();
        assert_eq!(log.next().await.unwrap().unwrap().message, "open");
        held.push(log);
    }
    for _ in 0..MAX * 10 {
        let refused =
            async { follow().await?.next().await.unwrap_or_else(|| Ok(Record::default())) };
        assert_eq!(refused.await.unwrap_err().code(), 429);
    }
    drop(held);
    // Progress: the places come back once the server has heard of it.
    while follow().await.is_err() {
        tokio::task::yield_now().await;
    }
    running.stop().await;
}

#[tokio::test]
async fn a_log_that_reaches_no_recorder_says_what_to_do() {
    let world = world().await;
    let debug: DebugClient = world.shop.client();
    let error = debug.log(LogRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), 501, "{error}");
    assert!(error.detail().contains("Capture::around"), "{error}");
    world.stop().await;
}

#[tokio::test]
async fn a_dump_has_panics_with_their_backtraces_and_tasks_by_name() {
    let world = world().await;
    let (shop, debug): (ShopClient, DebugClient) = (world.shop.client(), world.shop.client());
    assert_eq!(shop.break_down().await.unwrap_err().code(), 500);
    let dump = debug.dump().await.unwrap();
    let own = |panic: &&micro::debug::PanicReport| panic.endpoint == "shop.Shop.BreakDown";
    let panic = dump.panics.iter().find(own).unwrap_or_else(|| panic!("{dump:?}"));
    assert_eq!(panic.message, "on purpose");
    assert!(panic.location.contains("debug.rs") && !panic.backtrace.is_empty(), "{panic:?}");
    assert!(dump.tasks.get("accept").is_some_and(|count| *count == 1), "{:?}", dump.tasks);
    assert!(!dump.thread_frames.supported && dump.thread_frames.how.contains("gdb"), "{dump:?}");
    world.stop().await;
}

/// What a build cannot tell it answers by how to get it; what it can, it tells.
#[tokio::test]
async fn what_a_build_leaves_out_says_how_to_have_it() {
    let world = world().await;
    let debug: DebugClient = world.shop.client();
    let dump = debug.dump().await.unwrap();
    if cfg!(micro_taskdump) {
        assert!(dump.task_frames.supported, "{:?}", dump.task_frames);
        let accepts = |frames: &&String| frames.contains("accept");
        assert!(dump.waiting.iter().any(|frames| accepts(&frames)), "{:?}", dump.waiting);
    } else {
        let how = &dump.task_frames.how;
        assert!(how.contains("--cfg micro_taskdump") && dump.waiting.is_empty(), "{how}");
    }
    if cfg!(not(feature = "profile")) {
        let error = debug.profile(ProfileRequest::seconds(1)).await.unwrap_err();
        assert_eq!(error.code(), 501);
        assert!(error.detail().contains("feature `profile`"), "{error}");
    }
    let unknown = Service::new("shop").no_env().registry(registry::Memory::new());
    let unknown = unknown.mount(Stock).tracer("otpl://127.0.0.1").start().await;
    let error = unknown.unwrap_err();
    assert!(error.code() == 412 && error.detail().contains("`otlp`"), "{error}");
    if cfg!(not(feature = "otlp")) {
        let absent = Service::new("shop").no_env().registry(registry::Memory::new());
        let absent = absent.mount(Stock).tracer("otlp://127.0.0.1").start().await.unwrap_err();
        assert!(absent.detail().contains("enable the feature `otlp`"), "{absent}");
    }
    world.stop().await;
}

#[tokio::test]
async fn nothing_of_it_is_registered() {
    let registry = Arc::new(registry::Memory::new());
    let service = Service::new("stock").no_env();
    let service = service.shared_registry(Arc::<registry::Memory>::clone(&registry));
    let running = service.mount(Stock).start().await.unwrap();
    let records = registry::Registry::lookup(registry.as_ref(), "stock").await.unwrap().unwrap();
    let names: Vec<_> = records[0].endpoints.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["Stock.Take"]);
    running.stop().await;
}
