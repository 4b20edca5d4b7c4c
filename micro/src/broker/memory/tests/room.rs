//! Who gets room, who waits for it and who goes without.

use std::num::NonZeroUsize;

use super::*;
use crate::broker::Overflow;

#[tokio::test(start_paused = true)]
async fn a_publisher_waits_for_room_and_goes_on_when_there_is_some() {
    let (memory, gate) = (small(|_| {}), Arc::new(Semaphore::new(0)));
    let _slow = memory.subscribe("a", queue("x"), gated(&gate)).await.unwrap();
    for _ in 0..10 {
        memory.publish(message("a")).await.unwrap();
    }
    let start = clock::now();
    let (published, ()) = tokio::join!(memory.publish(message("a")), async {
        clock::sleep(Duration::from_secs(3)).await;
        gate.add_permits(1);
    });
    published.unwrap();
    assert_eq!(clock::now() - start, Duration::from_secs(3));
}

/// K8.
#[tokio::test(start_paused = true)]
async fn a_publisher_without_room_gives_up_and_nobody_has_the_message() {
    let (memory, gate) = (small(|_| {}), Arc::new(Semaphore::new(0)));
    let _fast = memory.subscribe("a", queue("fast"), decide(|_| Ack::Ack)).await.unwrap();
    let _slow = memory.subscribe("a", queue("slow"), gated(&gate)).await.unwrap();
    for _ in 0..10 {
        memory.publish(message("a")).await.unwrap();
    }
    let start = clock::now();
    let error = memory.publish(message("a")).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (429, Retry::Safe));
    assert_eq!(clock::now() - start, Duration::from_secs(10));
    let counts = balanced(&memory);
    assert_eq!((counts.published, counts.routed, counts.dropped), (10, 20, 0));
    gate.add_permits(1);
    memory.publish(message("a")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn bytes_are_bounded_and_one_message_longer_than_the_bound_still_passes() {
    let memory = small(|limits| limits.broker.pending_bytes_max = 1_000);
    let gate = Arc::new(Semaphore::new(0));
    let _slow = memory.subscribe("a", queue("x"), gated(&gate)).await.unwrap();
    let long = || Message { body: vec![0; 5_000].into(), ..message("a") };
    memory.publish(long()).await.unwrap();
    assert_eq!(memory.publish(message("a")).await.unwrap_err().code(), 429);
    gate.add_permits(1);
    memory.publish(message("a")).await.unwrap();
    assert_eq!(memory.publish(long()).await.unwrap_err().code(), 429);
}

/// F38.
#[tokio::test(start_paused = true)]
async fn the_oldest_is_dropped_and_counted_where_that_is_asked_for() {
    let (memory, gate) = (small(|_| {}), Arc::new(Semaphore::new(0)));
    let options = queue("x").with_overflow(Overflow::DropOldest);
    let (sender, mut came) = tokio::sync::mpsc::channel(100);
    let (seen, open) = (sender.clone(), Arc::clone(&gate));
    let handler: Handler = Arc::new(move |delivery| {
        let (seen, open) = (seen.clone(), Arc::clone(&open));
        Box::pin(async move {
            open.acquire().await.unwrap().forget();
            seen.send(delivery.message.body.clone()).await.unwrap();
            Ack::Ack
        })
    });
    let slow = memory.subscribe("a", options, handler).await.unwrap();
    for number in 0..30 {
        let body = format!("{number}").into();
        memory.publish(Message { body, ..message("a") }).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(balanced(&memory).dropped, 20);
    gate.add_permits(100);
    slow.drain(later(60)).await.unwrap();
    drop(sender);
    let mut bodies = Vec::new();
    while let Ok(body) = came.try_recv() {
        bodies.push(body);
    }
    // The first is being handled; of the others the latest nine are left.
    let wanted: Vec<Bytes> = [0].into_iter().chain(21..30).map(|n| n.to_string().into()).collect();
    assert_eq!(bodies, wanted);
    assert_eq!(balanced(&memory).acked, 10);
}

/// F38.
#[tokio::test(start_paused = true)]
async fn a_slow_subscription_ends_where_that_is_asked_for() {
    let (memory, gate) = (small(|_| {}), Arc::new(Semaphore::new(0)));
    let options = queue("x").with_overflow(Overflow::Disconnect);
    let slow = memory.subscribe("a", options, gated(&gate)).await.unwrap();
    for _ in 0..10 {
        memory.publish(message("a")).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(slow.is_active());
    memory.publish(message("a")).await.unwrap();
    assert!(!slow.is_active());
    memory.publish(message("a")).await.unwrap();
    gate.add_permits(100);
    slow.drain(later(60)).await.unwrap();
    let counts = balanced(&memory);
    assert_eq!((counts.dropped, counts.acked, counts.unrouted), (10, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn limits_hold_at_the_limit_and_one_more() {
    let memory = small(|limits| {
        limits.broker.subscriptions_max = 3;
        limits.broker.topics_max = 2;
    });
    let options = SubscribeOptions::default;
    let ack = || decide(|_| Ack::Ack);
    let a = memory.subscribe("a", options(), ack()).await.unwrap();
    let _b = memory.subscribe("b", options(), ack()).await.unwrap();
    for n in 0..20 {
        let topics = memory.subscribe(&format!("c{n}"), options(), ack()).await.unwrap_err();
        assert_eq!(topics.code(), 429, "{n}");
    }
    a.close();
    let _c = memory.subscribe("c", options(), ack()).await.unwrap();
    let _d = memory.subscribe("c", queue("x"), ack()).await;
    for n in 0..30 {
        let many = memory.subscribe("c", queue("x"), ack()).await.unwrap_err();
        assert_eq!(many.code(), 429, "{n}");
    }
    let limit = Limits::DEFAULT.message.bytes_max;
    for (bytes, code) in [(limit, None), (limit + 1, Some(413)), (limit * 10, Some(413))] {
        let long = Message { body: vec![0; bytes].into(), ..message("d") };
        assert_eq!(memory.publish(long).await.err().map(|error| error.code()), code, "{bytes}");
    }
}

/// T12: whoever gives up waiting for room leaves no trace.
#[tokio::test(start_paused = true)]
async fn a_publisher_that_gives_up_leaks_no_room() {
    let (memory, gate) = (small(|_| {}), Arc::new(Semaphore::new(0)));
    let slow = memory.subscribe("a", queue("x"), gated(&gate)).await.unwrap();
    for _ in 0..10 {
        memory.publish(message("a")).await.unwrap();
    }
    for _ in 0..50 {
        let given_up = clock::timeout(Duration::from_millis(1), memory.publish(message("a"))).await;
        assert!(given_up.is_err());
    }
    gate.add_permits(1_000);
    for _ in 0..100 {
        memory.publish(message("a")).await.unwrap();
    }
    slow.drain(later(60)).await.unwrap();
    assert_eq!(balanced(&memory).acked, 110);
}

#[tokio::test(start_paused = true)]
async fn publishers_that_wait_for_a_slow_group_take_no_room_from_others() {
    let (memory, gate) = (small(|_| {}), Arc::new(Semaphore::new(0)));
    let _fast = memory.subscribe("a.>", queue("audit"), decide(|_| Ack::Ack)).await.unwrap();
    let _slow = memory.subscribe("a.x", queue("slow"), gated(&gate)).await.unwrap();
    let tracker = TaskTracker::new();
    for _ in 0..30 {
        let memory = memory.clone();
        tracker.spawn("publisher", async move { memory.publish(message("a.x")).await });
    }
    clock::sleep(Duration::from_secs(1)).await;
    assert_eq!(tracker.len(), 20, "ten found room");
    let start = clock::now();
    for _ in 0..100 {
        memory.publish(message("a.y")).await.unwrap();
    }
    assert_eq!(clock::now(), start);
    gate.add_permits(30);
    assert_eq!(tracker.wait(later(1)).await, 0);
    clock::sleep(Duration::from_millis(1)).await;
    assert_eq!((balanced(&memory).acked, balanced(&memory).published), (160, 130));
}

/// At the limit, above it and far above it.
#[tokio::test(start_paused = true)]
async fn a_subscription_has_as_many_messages_in_hand_as_it_may() {
    for concurrency in [3, 4, 30] {
        let memory = small(|limits| limits.broker.unacked_max = 3);
        let entered = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = Arc::clone(&entered);
        let handler: Handler = Arc::new(move |_| {
            counted.fetch_add(1, SeqCst);
            Box::pin(std::future::pending())
        });
        let options = queue("x").with_concurrency(NonZeroUsize::new(concurrency).unwrap());
        let _held = memory.subscribe("a", options, handler).await.unwrap();
        for _ in 0..10 {
            memory.publish(message("a")).await.unwrap();
        }
        clock::sleep(Duration::from_secs(1)).await;
        assert_eq!(entered.load(SeqCst), 3, "{concurrency}");
    }
}

/// Ten messages, or the bytes of ten, wait; of the eleventh and of ninety more none does.
#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_at_the_limit_above_it_and_far_above_it() {
    let body = || Message { body: vec![0; 100].into(), ..message("a") };
    let taken = async |memory: Memory, tries: usize| {
        let gate = Arc::new(Semaphore::new(0));
        let _slow = memory.subscribe("a", queue("x"), gated(&gate)).await.unwrap();
        let mut taken = 0;
        for _ in 0..tries {
            match memory.publish(body()).await {
                Ok(_) => taken += 1,
                Err(error) => assert_eq!((error.code(), error.retry()), (429, Retry::Safe)),
            }
        }
        taken
    };
    let mut bytes = 0;
    for tries in [1, 10, 11, 100] {
        let by_count = taken(small(|_| {}), tries).await;
        assert_eq!(by_count, tries.min(10), "{tries} messages");
        let by_bytes = small(|limits| {
            limits.broker.pending_messages_max = 1000;
            limits.broker.pending_bytes_max = 2_000;
        });
        let within = taken(by_bytes, tries).await;
        bytes = bytes.max(within);
        assert!(within <= 20 && within == tries.min(bytes), "{tries}: {within}");
    }
    assert!(bytes >= 10, "{bytes} messages of 100 bytes in 2,000");
}
