//! What bounds a stream, and which context the calls made in it and beside it are in.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::stream;
use micro::core::clock;
use micro::core::context::Parts;
use micro::core::shutdown::TaskTracker;
use micro::core::trace::Trace;
use micro::prelude::*;
use tokio::sync::Notify;

/// How long it takes from one message of a stream to the next.
const TIDE: Duration = Duration::from_secs(30);

/// A deadline that passes before the first message comes.
const SOON: Duration = Duration::from_secs(1);

/// What the current context says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Seen {
    trace: Option<String>,
    tenant: Option<String>,
    local: Option<String>,
    left: Option<Duration>,
}

impl Seen {
    fn here() -> Self {
        let context = Context::current();
        Self {
            trace: context.trace().map(written),
            tenant: context.persistent().get("tenant").map(str::to_owned),
            local: context.metadata().get("local").map(str::to_owned),
            left: context.remaining(),
        }
    }
}

fn written(trace: Trace) -> String {
    format!("{:032x}", trace.trace_id())
}

/// The service as its own caller, and what tells that a stream was given up.
#[derive(Default)]
struct Shore {
    tide: OnceLock<TideClient>,
    gone: Notify,
}

impl Shore {
    fn tide(&self) -> &TideClient {
        self.tide.get().expect("it is there before the first call")
    }
}

/// Tells that a stream is no more, however it went.
struct Gone(Arc<Shore>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.gone.notify_one();
    }
}

struct Tide(Arc<Shore>);

#[service(name = "tide")]
impl Tide {
    /// Tells what its context says.
    #[handler]
    async fn here(&self) -> Result<Seen> {
        Ok(Seen::here())
    }

    /// Tells at every tide what its context says, and that of a call made in the stream.
    #[handler]
    async fn watch(&self) -> Result<Streaming<(Seen, Seen)>> {
        let next = |gone: Gone| async move {
            clock::sleep(TIDE).await;
            let there = gone.0.tide().here().await;
            Some((there.map(|there| (Seen::here(), there)), gone))
        };
        Ok(Streaming::from_stream(stream::unfold(Gone(Arc::clone(&self.0)), next)))
    }

    /// Makes a call here and waits for it in a task that is in no context.
    #[handler]
    async fn elsewhere(&self) -> Result<(Seen, Seen)> {
        let call = self.0.tide().here();
        let task = async move { call.await.map(|there| (Seen::here(), there)) };
        let tasks = TaskTracker::new();
        tasks.spawn("elsewhere", task).await?
    }
}

/// Starts the service on a network within the process.
async fn started() -> (Running, TideClient, Arc<Shore>) {
    let shore = Arc::<Shore>::default();
    let service = Service::new("tide").no_env().no_args().registry(micro::registry::Memory::new());
    let service = service.transport(micro::transport::Memory::default());
    let running = service.mount(Tide(Arc::clone(&shore))).start().await.unwrap();
    let tide: TideClient = running.client();
    assert!(shore.tide.set(tide.clone()).is_ok());
    (running, tide, shore)
}

/// A context as a handler has it.
fn context() -> (Context, Option<String>) {
    let trace = Trace::root();
    let mut parts = Parts::default();
    parts.trace = Some(trace);
    let context = Context::from_parts(parts).persist("tenant", "acme").unwrap();
    (context, Some(written(trace)))
}

#[tokio::test(start_paused = true)]
async fn a_stream_outlives_its_deadline_within_its_context() {
    let (running, tide, shore) = started().await;
    let (context, trace) = context();
    let call = tide.watch().timeout(SOON).context(&context).metadata("local", "one");
    let mut tides = call.await.unwrap();
    for _ in 0..2 {
        let (here, there) = tides.next().await.unwrap().unwrap();
        assert_eq!((&here.trace, here.tenant.as_deref()), (&trace, Some("acme")));
        assert_eq!((here.local.as_deref(), here.left), (Some("one"), None));
        // Of what a call within it sees, the deadline is its own.
        assert_eq!((&there.trace, there.tenant.as_deref()), (&trace, Some("acme")));
        assert_eq!(there.local, None);
        assert!(there.left > Some(SOON), "{there:?}");
    }
    drop(tides);
    shore.gone.notified().await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_asked_to_be_bounded_ends_by_its_deadline() {
    let (running, tide, shore) = started().await;
    let (began, whole) = (clock::now(), 3 * TIDE + SOON);
    let mut tides = tide.watch().timeout(whole).bounded().await.unwrap();
    for _ in 0..3 {
        tides.next().await.unwrap().unwrap();
    }
    let error = tides.next().await.unwrap().unwrap_err();
    let took = clock::now() - began;
    assert_eq!(error.code(), 408, "{error}");
    for part in ["tide Tide.Watch", "the deadline of the call passed in its stream"] {
        assert!(error.detail().contains(part), "{error}");
    }
    assert!(took >= whole && took <= whole + Duration::from_millis(50), "{took:?}");
    assert!(tides.next().await.is_none());
    shore.gone.notified().await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_bounded_stream_that_nobody_reads_lets_go_of_its_handler_in_time() {
    let (running, tide, shore) = started().await;
    let began = clock::now();
    let mut tides = tide.watch().timeout(TIDE + SOON).bounded().await.unwrap();
    tides.next().await.unwrap().unwrap();
    shore.gone.notified().await;
    let took = clock::now() - began;
    assert!(took >= TIDE + SOON && took <= TIDE + 2 * SOON, "{took:?}");
    assert_eq!(tides.next().await.unwrap().unwrap_err().code(), 408);
    assert!(tides.next().await.is_none());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_keeps_the_context_in_which_it_was_made() {
    let (running, tide, _shore) = started().await;
    let (context, trace) = context();
    let (here, there) = tide.elsewhere().timeout(SOON).context(&context).await.unwrap();
    assert_eq!(here, Seen { trace: None, tenant: None, local: None, left: None });
    assert_eq!((there.trace, there.tenant.as_deref()), (trace, Some("acme")));
    assert!(there.left.is_some_and(|left| left <= SOON), "{:?}", there.left);
    running.stop().await;
}
