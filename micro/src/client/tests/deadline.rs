//! A chain of services shares one deadline, and what else travels with a call.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::client::tests::world::SERVICE;
use crate::client::{Call, Client, Stub};
use crate::codec::Format;
use crate::core::body::Body;
use crate::core::clock;
use crate::core::context::{Context, Parts};
use crate::core::descriptor::CallKind;
use crate::core::error::Result;
use crate::core::exchange::{Dispatch, Inbound, Outgoing, Running, Target};
use crate::core::metadata::Metadata;
use crate::core::trace::Trace;
use crate::transport::{Memory, Scope, Transport};

/// How long a service works before it calls the next one.
const WORK: Duration = Duration::from_millis(100);

/// What a service saw of its call.
#[derive(Clone, Debug)]
struct Seen {
    left: Option<Duration>,
    trace: Option<u128>,
    tenant: Option<String>,
    local: Option<String>,
}

/// A service that works for a while, then calls the next one if there is one.
#[derive(Debug)]
struct Hop {
    next: Option<Stub>,
    /// Asks for more time than it has.
    greedy: bool,
    hangs: bool,
    seen: Arc<Mutex<Vec<Seen>>>,
    alive: Arc<AtomicUsize>,
}

impl Dispatch for Hop {
    fn resolve(&self, _: &str, _: &str) -> Result<Target> {
        Ok(Target { index: 0, kind: CallKind::Unary, detached: false })
    }

    fn dispatch(&self, call: Inbound) -> Result<Running> {
        let extra = call.extra.map(|extra| *extra).unwrap_or_default();
        let context = Context::from_parts(Parts {
            deadline: call.deadline,
            metadata: extra.metadata,
            persistent: extra.persistent,
            trace: extra.trace,
            ..Parts::default()
        });
        let (next, seen, alive) = (self.next.clone(), self.seen.clone(), self.alive.clone());
        let (greedy, hangs) = (self.greedy, self.hangs);
        Ok(Running::new(
            context,
            Box::pin(async move {
                alive.fetch_add(1, Ordering::Relaxed);
                let _alive = Alive(alive);
                let context = Context::current();
                seen.lock().unwrap().push(Seen {
                    left: context.remaining(),
                    trace: context.trace().map(Trace::trace_id),
                    tenant: context.persistent().get("tenant").map(str::to_owned),
                    local: context.metadata().get("local").map(str::to_owned),
                });
                clock::sleep(WORK).await;
                if hangs {
                    std::future::pending::<()>().await;
                }
                if let Some(next) = next {
                    let call: Call<()> = next.unary(0, &(), encode, decode);
                    let call = if greedy { call.timeout(Duration::from_secs(60)) } else { call };
                    call.await?;
                }
                Ok(Outgoing::Message(Bytes::new()))
            }),
        ))
    }
}

struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the type of an encoder asks for it")]
fn encode(_: &Format, (): &(), _: &mut Vec<u8>) -> Result<()> {
    Ok(())
}

fn decode(_: &Format, _: &Body<'_>) -> Result<()> {
    Ok(())
}

/// Three services in a row, and a client of the first.
struct Chain {
    first: Stub,
    seen: Arc<Mutex<Vec<Seen>>>,
    alive: Arc<AtomicUsize>,
}

async fn chain(greedy: bool, hangs: bool) -> Chain {
    let (memory, scope) = (Memory::new(), Scope::default());
    let (seen, alive) = (Arc::default(), Arc::default());
    let mut next = None;
    for name in ["memory:c", "memory:b", "memory:a"] {
        let last = next.is_none();
        let (seen, alive) = (Arc::clone(&seen), Arc::clone(&alive));
        let hop = Hop { next, greedy, hangs: hangs && last, seen, alive };
        let address = memory.listen(&name.parse().unwrap(), Arc::new(hop), &scope).await.unwrap();
        let client = Client::builder().transport(Arc::new(memory.clone())).address(address);
        next = Some(Stub::new(client.build(), &SERVICE));
    }
    Chain { first: next.unwrap(), seen, alive }
}

impl Chain {
    fn call(&self) -> Call<()> {
        self.first.unary(0, &(), encode, decode)
    }

    fn left(&self) -> Vec<Duration> {
        self.seen.lock().unwrap().iter().map(|seen| seen.left.unwrap()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn each_service_of_a_chain_sees_what_is_left_of_the_one_deadline() {
    for greedy in [false, true] {
        let chain = chain(greedy, false).await;
        let whole = Duration::from_secs(1);
        chain.call().timeout(whole).await.unwrap();
        assert_eq!(chain.left(), [whole, whole - WORK, whole - 2 * WORK]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_inherited_deadline_longer_than_the_default_applies_alone() {
    let chain = chain(false, false).await;
    let whole = 6 * crate::core::limits::Limits::DEFAULT.call.default_timeout;
    chain.call().timeout(whole).await.unwrap();
    assert_eq!(chain.left(), [whole, whole - WORK, whole - 2 * WORK]);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_timeout_has_the_default_one() {
    let chain = chain(false, false).await;
    chain.call().await.unwrap();
    assert_eq!(chain.left()[0], crate::core::limits::Limits::DEFAULT.call.default_timeout);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_the_whole_chain_at_once() {
    let chain = chain(true, true).await;
    let began = clock::now();
    let whole = Duration::from_secs(1);
    let error = chain.call().timeout(whole).await.unwrap_err();
    let took = clock::now() - began;
    assert_eq!(error.code(), 408, "{error}");
    assert!(took >= whole && took <= whole + Duration::from_millis(50), "{took:?}");
    assert_eq!(chain.seen.lock().unwrap().len(), 3);
    clock::sleep(Duration::from_millis(50)).await;
    assert_eq!(chain.alive.load(Ordering::Relaxed), 0, "no handler outlives the deadline");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_takes_the_chain_with_it() {
    let chain = chain(false, true).await;
    assert!(clock::timeout(3 * WORK, chain.call()).await.is_err());
    assert_eq!(chain.seen.lock().unwrap().len(), 3);
    clock::sleep(Duration::from_millis(1)).await;
    assert_eq!(chain.alive.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_spent_deadline_is_not_sent_at_all() {
    let chain = chain(false, false).await;
    let deadline = Some(clock::now() + WORK);
    let context = Context::from_parts(Parts { deadline, ..Parts::default() });
    clock::sleep(2 * WORK).await;
    assert_eq!(chain.call().context(&context).await.unwrap_err().code(), 408);
    assert!(chain.seen.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn trace_and_persistent_metadata_travel_down_the_chain_and_local_metadata_does_not() {
    let chain = chain(false, false).await;
    let mut persistent = Metadata::new();
    persistent.insert("tenant", "acme").unwrap();
    let trace = Trace::root();
    let parts = Parts { persistent, trace: Some(trace), ..Parts::default() };
    let call = chain.call().metadata("local", "one");
    call.context(&Context::from_parts(parts)).await.unwrap();
    let seen = chain.seen.lock().unwrap().clone();
    assert!(seen.iter().all(|s| s.trace == Some(trace.trace_id())), "{seen:?}");
    assert!(seen.iter().all(|s| s.tenant.as_deref() == Some("acme")), "{seen:?}");
    let local: Vec<_> = seen.iter().map(|s| s.local.as_deref()).collect();
    assert_eq!(local, [Some("one"), None, None]);
}
