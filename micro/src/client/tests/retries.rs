//! Retries stay within the deadline of their call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::client::tests::world::SERVICE;
use crate::client::{Call, Client, Stub};
use crate::codec::Format;
use crate::core::clock;
use crate::core::context::Context;
use crate::core::descriptor::CallKind;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Dispatch, Inbound, Running, Target};
use crate::registry::{self, Endpoint, Node, Record, Registry};
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

fn decode(_: &Format, _: &Bytes) -> Result<()> {
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
async fn a_pause_that_outlasts_the_call_is_not_waited_for() {
    let hint = Duration::from_secs(60);
    let refused = Error::unavailable("lab", "busy").with_retry(Retry::Safe).with_retry_after(hint);
    for (took, calls) in outcomes(Duration::ZERO, refused, TIMEOUT).await {
        assert!(took < Duration::from_millis(50), "{took:?}");
        assert_eq!(calls, 1);
    }
    let hint = Duration::from_millis(300);
    let refused = Error::unavailable("lab", "busy").with_retry(Retry::Safe).with_retry_after(hint);
    for (took, calls) in outcomes(Duration::ZERO, refused, TIMEOUT).await {
        assert!(calls > 2 && took <= TIMEOUT, "{calls} {took:?}");
    }
}
