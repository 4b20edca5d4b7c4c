//! How subscriptions and the broker end.

use super::*;
use crate::broker::Overflow;

#[tokio::test(start_paused = true)]
async fn the_last_member_works_off_the_backlog_when_it_drains() {
    let (memory, gate) = (Memory::new(), Arc::new(Semaphore::new(0)));
    let one = memory.subscribe("a", queue("x"), gated(&gate)).await.unwrap();
    let two = memory.subscribe("a", queue("x"), gated(&gate)).await.unwrap();
    for _ in 0..100 {
        memory.publish(message("a")).await.unwrap();
    }
    tokio::task::yield_now().await;
    gate.add_permits(1_000);
    one.drain(later(60)).await.unwrap();
    two.drain(later(60)).await.unwrap();
    let counts = balanced(&memory);
    assert_eq!((counts.acked, counts.dropped), (100, 0));
    memory.publish(message("a")).await.unwrap();
    assert_eq!(memory.counts().unrouted, 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_cuts_at_its_deadline_and_says_so() {
    let memory = Memory::new();
    let handler: Handler = Arc::new(|_| Box::pin(std::future::pending()));
    let hanging = memory.subscribe("a", queue("x"), handler).await.unwrap();
    memory.publish(message("a")).await.unwrap();
    let deadline = later(5);
    let error = hanging.drain(deadline).await.unwrap_err();
    assert_eq!(error.code(), 408);
    assert_eq!(clock::now(), deadline);
    assert_eq!(balanced(&memory).dropped, 1);
    assert!(memory.inner.tracker.is_empty(), "nothing runs after a drain");
}

/// K11, promise 4.
#[tokio::test(start_paused = true)]
async fn closing_finishes_what_handlers_publish() {
    let memory = Memory::new();
    let publisher = memory.clone();
    let relay: Handler = Arc::new(move |_| {
        let publisher = publisher.clone();
        Box::pin(async move {
            clock::sleep(Duration::from_secs(1)).await;
            publisher.publish(message("b")).await.into()
        })
    });
    let _a = memory.subscribe("a", queue("x"), relay).await.unwrap();
    let _b = memory.subscribe("b", queue("x"), decide(|_| Ack::Ack)).await.unwrap();
    for _ in 0..3 {
        memory.publish(message("a")).await.unwrap();
    }
    memory.close(later(60)).await.unwrap();
    let counts = balanced(&memory);
    assert_eq!((counts.acked, counts.dropped, counts.unrouted), (6, 0, 0));
    assert!(memory.inner.tracker.is_empty(), "nothing runs after a close");
}

#[tokio::test(start_paused = true)]
async fn a_close_that_runs_out_of_time_counts_what_is_left() {
    let (memory, gate) = (Memory::new(), Arc::new(Semaphore::new(0)));
    let _slow = memory.subscribe("a", queue("x"), gated(&gate)).await.unwrap();
    for _ in 0..3 {
        memory.publish(message("a")).await.unwrap();
    }
    let deadline = later(5);
    let error = memory.close(deadline).await.unwrap_err();
    assert_eq!((error.code(), clock::now()), (408, deadline));
    assert!(error.detail().contains("1 subscribers cut, 3 messages dropped"), "{error}");
    assert_eq!(balanced(&memory).in_flight, 0);
    memory.close(later(5)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_close_under_steady_traffic_stops_publishers_and_drains_what_they_published() {
    let memory = Memory::new();
    let slow: Handler = Arc::new(|_| {
        Box::pin(async {
            clock::sleep(Duration::from_millis(10)).await;
            Ack::Ack
        })
    });
    let subscription = memory.subscribe("a", queue("x"), slow).await.unwrap();
    let (publisher, tracker) = (memory.clone(), TaskTracker::new());
    let published = tracker.spawn("publisher", async move {
        while publisher.publish(message("a")).await.is_ok() {
            clock::sleep(Duration::from_millis(9)).await;
        }
    });
    clock::sleep(Duration::from_secs(1)).await;
    memory.close(later(10)).await.unwrap();
    published.await.unwrap();
    let counts = balanced(&memory);
    assert!(counts.acked == counts.published && counts.dropped == 0, "{counts:?}");
    drop(subscription);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_waiting_message_tells_those_who_wait_for_the_end() {
    let memory = small(|limits| limits.broker.pending_messages_max = 1);
    let options = queue("x").with_overflow(Overflow::DropOldest);
    let retried: Handler =
        Arc::new(|_| Box::pin(async { Ack::Retry { after: Some(Duration::from_secs(300)) } }));
    let _subscription = memory.subscribe("a", options, retried).await.unwrap();
    memory.publish(message("a")).await.unwrap();
    clock::sleep(Duration::from_secs(1)).await;
    let group = memory.inner.routes.load().all().next().map(Arc::clone).unwrap();
    let (dropped, ended) = tokio::join!(
        async {
            tokio::task::yield_now().await;
            matches!(group.try_reserve(1), Reserved::Room(_))
        },
        clock::timeout(Duration::from_secs(1), group.wait_idle())
    );
    assert!(dropped && ended.is_ok());
}
