//! Retries stay within the deadline of their call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::client::tests::lab::{Lab, after, at_once, call, idempotent, refusal};
use crate::client::tests::world::SERVICE;
use crate::client::{Call, Client, Stub};
use crate::codec::Format;
use crate::core::body::Body;
use crate::core::budget::Budget;
use crate::core::clock::{self, Instant};
use crate::core::context::Context;
use crate::core::descriptor::CallKind;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Dispatch, Inbound, Running, Target};
use crate::core::limits::Limits;
use crate::registry::{self, Endpoint, Node, Record, Registry};
use crate::selector::{ConsistentHash, filter};
use crate::transport::{Memory, Scope, Transport};

/// A node that fails each call in its way.
#[derive(Debug)]
struct Failing {
    /// How long it takes to fail.
    after: Duration,
    error: Error,
    calls: AtomicUsize,
}

impl Dispatch for Failing {
    fn resolve(&self, _: &str, _: &str) -> Result<Target> {
        Ok(Target { index: 0, kind: CallKind::Unary, detached: false })
    }

    fn dispatch(&self, _: Inbound) -> Result<Running> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let (after, error) = (self.after, self.error.clone());
        Ok(Running::new(
            Context::new(),
            Box::pin(async move {
                clock::sleep(after).await;
                Err(error)
            }),
        ))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the type of an encoder asks for it")]
fn encode(_: &Format, (): &(), _: &mut Vec<u8>) -> Result<()> {
    Ok(())
}

fn decode(_: &Format, _: &Body<'_>) -> Result<()> {
    Ok(())
}

/// Calls failing nodes four times, the last times on open connections; returns how long each took
/// and how often they were asked.
async fn outcomes(after: Duration, error: Error, timeout: Duration) -> Vec<(Duration, usize)> {
    let (memory, scope) = (Memory::new(), Scope::default());
    let node = Arc::new(Failing { after, error, calls: AtomicUsize::new(0) });
    let registry = registry::Memory::new();
    for name in ["a", "b"] {
        let address = format!("memory:{name}");
        memory.listen(&address.parse().unwrap(), node.clone(), &scope).await.unwrap();
        let record = Record {
            name: SERVICE.name.to_owned(),
            endpoints: vec![Endpoint { name: "U".to_owned(), ..Endpoint::default() }],
            nodes: vec![Node { id: name.to_owned(), address, ..Node::default() }],
            ..Record::default()
        };
        registry.register(&record, Duration::from_secs(3600)).await.unwrap();
    }
    let client = Client::builder().registry(Arc::new(registry)).transport(Arc::new(memory));
    let stub = Stub::new(client.build(), &SERVICE);
    let mut outcomes = Vec::new();
    for _ in 0..4 {
        let (began, before) = (clock::now(), node.calls.load(Ordering::Relaxed));
        let call: Call<()> = stub.unary(0, &(), encode, decode).idempotent().timeout(timeout);
        assert!(call.retries(100).await.is_err());
        let calls = node.calls.load(Ordering::Relaxed) - before;
        outcomes.push((clock::now() - began, calls));
    }
    outcomes
}

const TIMEOUT: Duration = Duration::from_secs(2);

#[tokio::test(start_paused = true)]
async fn retries_of_slow_failures_end_with_the_deadline_of_the_call() {
    let error = Error::unavailable("lab", "fails");
    for (took, calls) in outcomes(Duration::from_millis(1500), error, TIMEOUT).await {
        assert!(took <= TIMEOUT + Duration::from_millis(50), "{took:?}");
        assert_eq!(calls, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_refuses_is_asked_once_and_the_other_at_once() {
    for hint in [Duration::from_millis(300), Duration::from_secs(60)] {
        let refused = Error::unavailable("lab", "busy").with_retry(Retry::Safe);
        for (took, calls) in outcomes(Duration::ZERO, refused.with_retry_after(hint), TIMEOUT).await
        {
            assert!(took < Duration::from_millis(50), "{took:?}");
            assert_eq!(calls, 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_refuses_gets_few_calls_and_costs_none() {
    let mut lab = Lab::default();
    lab.node("a", at_once(Err(refusal()))).await;
    lab.node("b", after(Duration::from_millis(10), Ok(()))).await;
    let client = lab.builder().build();
    for _ in 0..300 {
        call(&client).await.unwrap();
    }
    assert_eq!(lab.calls("b"), 300);
    assert!(lab.calls("a") < 30, "{}", lab.calls("a"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_repeated_no_more_often_than_asked_for() {
    for (retries, sent) in [(0, 1), (1, 2), (2, 3), (9, 4)] {
        let mut lab = Lab::default();
        for name in ["a", "b", "c", "d"] {
            lab.node(name, at_once(Err(refusal()))).await;
        }
        let client = lab.builder().build();
        let error = call(&client).retries(retries).await.unwrap_err();
        assert_eq!((error.code(), error.retry()), (429, Retry::Safe));
        let mut order = lab.order();
        order.sort_unstable();
        order.dedup();
        assert_eq!((lab.order().len(), order.len()), (sent, sent), "no node twice");
    }
}

/// F7, F21.
#[tokio::test(start_paused = true)]
async fn r15_an_overload_is_multiplied_by_no_more_than_the_budget() {
    let sent = async |budget: fn(Instant) -> Budget| {
        let mut lab = Lab::default();
        for name in ["a", "b", "c"] {
            lab.node(name, at_once(Err(refusal()))).await;
        }
        let client = lab.builder().budget(budget(clock::now())).build();
        for _ in 0..500 {
            assert_eq!(call(&client).await.unwrap_err().code(), 429);
        }
        lab.order().len()
    };
    assert_eq!(sent(Budget::none).await, 500);
    assert_eq!(sent(|now| Budget::new(now, 20, 0)).await, 600);
    assert_eq!(sent(Budget::unlimited).await, 1500);
}

#[tokio::test(start_paused = true)]
async fn r15_a_repetition_says_which_try_it_is() {
    let mut lab = Lab::default();
    for name in ["a", "b", "c"] {
        lab.node(name, at_once(Err(refusal()))).await;
    }
    let client = lab.builder().budget(Budget::unlimited(clock::now())).build();
    call(&client).metadata("tenant", "acme").retries(2).await.unwrap_err();
    let extras = lab.extras();
    let told: Vec<_> = extras.iter().map(|extra| extra.metadata.get("x-attempt")).collect();
    assert_eq!(told, [None, Some("2"), Some("3")]);
    assert!(extras.iter().all(|extra| extra.metadata.get("tenant") == Some("acme")));
}

#[tokio::test(start_paused = true)]
async fn failures_of_idempotent_calls_are_repeated_within_the_budget() {
    let sent = async |budget: fn(Instant) -> Budget| {
        let mut lab = Lab::default();
        for name in ["a", "b", "c"] {
            lab.node(name, at_once(Err(Error::unavailable("lab", "fails")))).await;
        }
        let client = lab.builder().budget(budget(clock::now())).build();
        for _ in 0..100 {
            assert!(idempotent(&client).await.is_err());
        }
        lab.order().len()
    };
    assert_eq!(sent(Budget::none).await, 100);
    assert_eq!(sent(|now| Budget::new(now, 20, 0)).await, 120);
}

#[tokio::test(start_paused = true)]
async fn the_outage_of_one_service_takes_nothing_from_the_budget_of_another() {
    let mut lab = Lab::default();
    for name in ["a", "b"] {
        lab.node(name, at_once(Err(refusal()))).await;
    }
    let client = lab.builder().build();
    for _ in 0..1000 {
        assert!(call(&client).await.is_err());
    }
    let spent = &client.endpoint(SERVICE.name, "U", CallKind::Unary).target.budget;
    let other = &client.endpoint("other", "U", CallKind::Unary).target.budget;
    assert!(!spent.withdraw(clock::now()) && other.withdraw(clock::now()));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_left_goes_to_one_more_node_whatever_the_budget() {
    let lab = Lab::default();
    for name in ["a", "b", "c", "d"] {
        lab.register(SERVICE.name, name).await;
    }
    let dials = || -> usize { ["a", "b", "c", "d"].map(|name| lab.dials(name)).iter().sum() };
    let client = lab.builder().budget(Budget::none(clock::now())).build();
    let error = call(&client).await.unwrap_err();
    assert_eq!((error.code(), error.retry(), dials()), (503, Retry::Safe, 2));
    let client = lab.builder().budget(Budget::unlimited(clock::now())).build();
    assert!(call(&client).retries(0).await.is_err());
    assert_eq!(dials(), 4);
    assert!(call(&client).retries(1).await.is_err());
    assert!(dials() <= 7, "{}", dials());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_only_node_burns_no_token() {
    let mut lab = Lab::default();
    lab.node("a", at_once(Err(refusal()))).await;
    let client = lab.builder().build();
    for _ in 0..200 {
        assert!(call(&client).await.is_err());
    }
    assert_eq!(lab.calls("a"), 200);
    let budget = &client.endpoint(SERVICE.name, "U", CallKind::Unary).target.budget;
    assert!(budget.withdraw(clock::now()));
}

#[tokio::test(start_paused = true)]
async fn a_call_to_one_address_is_repeated_there_after_a_pause() {
    let mut lab = Lab::default();
    let hint = Duration::from_millis(300);
    let busy = at_once(Err(refusal().with_retry_after(hint)));
    lab.node("a", Arc::new(move |n| if n == 0 { busy(n) } else { at_once(Ok(()))(n) })).await;
    let (client, began) = (lab.builder().build(), clock::now());
    call(&client).to("memory:a").await.unwrap();
    assert_eq!((lab.calls("a"), clock::now() - began), (2, hint));
}

#[tokio::test(start_paused = true)]
async fn each_try_has_its_time_and_the_error_says_which_timer_fired() {
    let mut lab = Lab::default();
    let slow = after(Duration::from_secs(5), Ok(()));
    for name in ["a", "b"] {
        let slow = Arc::clone(&slow);
        lab.node(name, Arc::new(move |n| if n == 0 { slow(n) } else { at_once(Ok(()))(n) })).await;
    }
    let (client, began) = (lab.builder().build(), clock::now());
    idempotent(&client).try_timeout(Duration::from_millis(100)).await.unwrap();
    let took = clock::now() - began;
    assert!(took < Duration::from_millis(200), "{took:?}");
    let mut lab = Lab::default();
    lab.node("a", slow).await;
    let error = call(&lab.builder().build()).try_timeout(Duration::from_millis(100)).await;
    let error = error.unwrap_err();
    assert!(error.code() == 408 && error.detail().contains("of one try"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_named_error_keeps_what_came_with_it() {
    let error = Error::unavailable("micro.client", "the shop is closed").with_details(&7);
    let mut lab = Lab::default();
    lab.node("a", at_once(Err(error.with_retry_after(Duration::from_secs(3))))).await;
    let error = call(&lab.builder().build()).await.unwrap_err();
    assert!(error.detail().contains("lab U on a (memory:a): the shop"), "{error}");
    assert_eq!(error.details::<u32>(), Some(7));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
}

#[tokio::test(start_paused = true)]
async fn filters_and_keys_reach_the_selector() {
    let mut lab = Lab::default();
    for name in ["a", "b", "c"] {
        lab.node(name, at_once(Ok(()))).await;
    }
    let client = lab.builder().selector(Arc::new(ConsistentHash::new())).build();
    for _ in 0..20 {
        call(&client).filter(filter::node("b")).await.unwrap();
    }
    assert_eq!(lab.calls("b"), 20);
    for key in 0..20 {
        let before = lab.order().len();
        call(&client).route_by(format!("{key}")).await.unwrap();
        call(&client).route_by(format!("{key}")).await.unwrap();
        let order = lab.order();
        assert_eq!(order[before], order[before + 1]);
    }
    assert!(lab.calls("a") > 0 && lab.calls("c") > 0);
}

/// Of five nodes that refuse, asks as many as a call may within its limits.
async fn asked(change: impl FnOnce(&mut Limits)) -> usize {
    let mut lab = Lab::default();
    change(&mut lab.limits);
    for name in ["a", "b", "c", "d", "e"] {
        lab.node(name, at_once(Err(refusal()))).await;
    }
    let client = lab.builder().limits(lab.limits.clone()).build();
    call(&client).await.unwrap_err();
    lab.order().len()
}

#[tokio::test(start_paused = true)]
async fn a_call_is_repeated_twice_unless_told_otherwise() {
    assert_eq!(asked(|_| {}).await, 3);
    for (retries, sent) in [(0, 1), (1, 2), (4, 5), (40, 5)] {
        assert_eq!(asked(|limits| limits.retry.retries_max = retries).await, sent, "{retries}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_asks_for_a_pause_up_to_the_limit() {
    let most = Duration::from_secs(5);
    for hint in [most, most + Duration::from_secs(1), most * 10] {
        let mut lab = Lab::default();
        lab.limits.retry.hint_max = most;
        for name in ["a", "b"] {
            let error = Error::unavailable("lab", "busy").with_retry(Retry::Unknown);
            lab.node(name, at_once(Err(error.with_retry_after(hint)))).await;
        }
        let client = lab.builder().limits(lab.limits.clone()).build();
        let began = clock::now();
        idempotent(&client).timeout(Duration::from_secs(600)).await.unwrap_err();
        let took = clock::now() - began;
        assert!(took >= most && took < most + Duration::from_millis(100), "{hint:?}: {took:?}");
        assert_eq!(lab.order().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn no_call_takes_longer_than_the_longest_may() {
    let most = Duration::from_secs(20);
    for timeout in [most, most + Duration::from_secs(1), most * 10] {
        let mut lab = Lab::default();
        lab.limits.call.timeout_max = most;
        lab.node("a", after(Duration::from_secs(3600), Ok(()))).await;
        let client = lab.builder().limits(lab.limits.clone()).build();
        let began = clock::now();
        assert_eq!(call(&client).timeout(timeout).await.unwrap_err().code(), 408);
        let took = clock::now() - began;
        assert!(took >= most && took < most + Duration::from_millis(100), "{timeout:?}: {took:?}");
    }
}
