//! The memory broker: accounting, room, ends.

use std::num::NonZeroUsize;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::*;
use crate::broker::Ack;
use crate::broker::Delivery;
use crate::broker::Overflow;
use crate::core::content_type::ContentType;

fn message(topic: &str) -> Message {
    Message::new(topic, ContentType::Json, Bytes::from_static(b"{}"))
}

fn later(seconds: u64) -> Instant {
    clock::after(clock::now(), Duration::from_secs(seconds))
}

fn small(change: impl Fn(&mut Limits)) -> Memory {
    let mut limits = Limits::default();
    limits.broker.pending_messages_max = 10;
    change(&mut limits);
    Memory::with_limits(&limits, TaskTracker::new())
}

fn decide(decision: impl Fn(&Delivery) -> Ack + Send + Sync + 'static) -> Handler {
    Arc::new(move |delivery| {
        let ack = decision(&delivery);
        Box::pin(async move { ack })
    })
}

/// A handler that waits for a permit each time.
fn gated(gate: &Arc<Semaphore>) -> Handler {
    let gate = Arc::clone(gate);
    Arc::new(move |_| {
        let gate = Arc::clone(&gate);
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            Ack::Ack
        })
    })
}

fn queue(name: &str) -> SubscribeOptions {
    SubscribeOptions::default().with_queue(name)
}

fn balanced(memory: &Memory) -> Counts {
    let counts = memory.counts();
    let accounted = counts.acked + counts.dead + counts.dropped + counts.in_flight;
    assert_eq!(counts.routed, accounted, "{counts:?}");
    counts
}

/// K14.
#[tokio::test(start_paused = true)]
async fn every_copy_is_accounted_for() {
    let memory = Memory::new();
    let random = || {
        decide(|_| match fastrand::u32(0..4) {
            0 => Ack::RETRY,
            1 => Ack::reject("no"),
            _ => Ack::Ack,
        })
    };
    let a = memory.subscribe("a.b", queue("x"), random()).await.unwrap();
    let b = memory.subscribe("a.*", queue("x"), random()).await.unwrap();
    let c = memory.subscribe("a.>", SubscribeOptions::default(), random()).await.unwrap();
    for round in 0..300 {
        memory.publish(message("a.b")).await.unwrap();
        memory.publish(message("nobody.listens")).await.unwrap();
        if round % 50 == 0 {
            tokio::task::yield_now().await;
            balanced(&memory);
        }
    }
    assert!(balanced(&memory).in_flight > 0);
    a.close();
    b.drain(later(600)).await.unwrap();
    c.drain(later(600)).await.unwrap();
    let counts = balanced(&memory);
    assert_eq!((counts.in_flight, counts.routed), (0, 900));
    assert!(counts.acked > 0 && counts.dead > 0 && counts.retried > 0 && counts.dropped > 0);
    // Dead letters find nobody.
    assert_eq!(counts.unrouted, 300 + counts.dead);
    assert_eq!(counts.published, 600 + counts.dead);
    assert_eq!(counts.delivered, counts.acked + counts.dead + counts.retried);
}

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
async fn pauses_between_deliveries_grow_and_are_bounded() {
    let memory = Memory::new();
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&times);
    let handler = decide(move |_| {
        seen.lock().unwrap().push(clock::now());
        Ack::Retry { after: Some(Duration::from_secs(1_000_000)) }
    });
    let subscription = memory.subscribe("a", queue("x"), handler).await.unwrap();
    memory.publish(message("a")).await.unwrap();
    subscription.drain(later(10_000)).await.unwrap();
    let times = times.lock().unwrap();
    assert_eq!(times.len(), 5);
    assert!(times.windows(2).all(|two| two[1] - two[0] == Duration::from_secs(300)));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_busy_does_not_hold_up_what_is_due() {
    let memory = Memory::new();
    let options = queue("x").with_concurrency(NonZeroUsize::new(2).unwrap());
    let done = Arc::new(Semaphore::new(0));
    let signal = Arc::clone(&done);
    let handler: Handler = Arc::new(move |delivery| {
        let signal = Arc::clone(&signal);
        Box::pin(async move {
            if &*delivery.message.body == b"slow" {
                clock::sleep(Duration::from_secs(20)).await;
            } else if delivery.attempt == 1 {
                return Ack::Retry { after: Some(Duration::from_secs(1)) };
            }
            signal.add_permits(1);
            Ack::Ack
        })
    });
    let _two = memory.subscribe("a", options, handler).await.unwrap();
    memory.publish(message("a")).await.unwrap();
    clock::sleep(Duration::from_millis(500)).await;
    memory.publish(Message { body: "slow".into(), ..message("a") }).await.unwrap();
    let start = clock::now();
    done.acquire().await.unwrap().forget();
    assert!(clock::now() - start < Duration::from_secs(2));
}

/// K4: a subscription to everything must not get its own failures back for ever.
#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_fails_is_gone() {
    let memory = Memory::new();
    let reject = || decide(|_| Ack::reject("no"));
    let all = memory.subscribe(">", queue("x"), reject()).await.unwrap();
    let dead = memory.subscribe("a.dead", queue("x"), reject()).await.unwrap();
    memory.publish(message("a")).await.unwrap();
    all.drain(later(60)).await.unwrap();
    dead.drain(later(60)).await.unwrap();
    let counts = balanced(&memory);
    assert_eq!((counts.delivered, counts.dead, counts.published), (2, 2, 2));
}

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_may_come_and_go_under_load_without_a_loss() {
    let memory = Memory::new();
    let tracker = TaskTracker::new();
    let stays = memory.subscribe("a", queue("x"), decide(|_| Ack::Ack)).await.unwrap();
    let publisher = memory.clone();
    let publishing = tracker.spawn("publisher", async move {
        for _ in 0..5_000 {
            publisher.publish(message("a")).await.unwrap();
        }
    });
    for _ in 0..100 {
        let handler: Handler = Arc::new(|_| {
            Box::pin(async {
                tokio::task::yield_now().await;
                Ack::Ack
            })
        });
        let guest = memory.subscribe("a", queue("x"), handler).await.unwrap();
        tokio::task::yield_now().await;
        if fastrand::bool() { guest.close() } else { guest.drain(later(60)).await.unwrap() }
    }
    publishing.await.unwrap();
    stays.drain(later(60)).await.unwrap();
    let counts = balanced(&memory);
    assert_eq!((counts.acked, counts.dropped, counts.in_flight), (5_000, 0, 0));
}

/// F37.
#[tokio::test(start_paused = true)]
async fn dead_letters_without_room_hold_up_no_worker_and_are_not_lost() {
    let (memory, gate) = (small(|_| {}), Arc::new(Semaphore::new(0)));
    let _reader = memory.subscribe("a.dead", queue("reader"), gated(&gate)).await.unwrap();
    let poison = decide(|delivery| match delivery.message.id.as_str() {
        "good" => Ack::Ack,
        _ => Ack::reject("poison"),
    });
    let _subscriber = memory.subscribe("a", queue("x"), poison).await.unwrap();
    for _ in 0..15 {
        memory.publish(message("a")).await.unwrap();
        tokio::task::yield_now().await;
    }
    let start = clock::now();
    memory.publish(Message { id: "good".into(), ..message("a") }).await.unwrap();
    while balanced(&memory).acked == 0 {
        clock::sleep(Duration::from_millis(1)).await;
    }
    assert!(clock::now() - start < Duration::from_millis(10), "{:?}", clock::now() - start);
    let counts = balanced(&memory);
    assert_eq!((counts.dead, counts.delivered), (10, 17), "one is being read, the handler saw 16");
    gate.add_permits(100);
    clock::sleep(Duration::from_secs(60)).await;
    let counts = balanced(&memory);
    assert_eq!((counts.dead, counts.acked, counts.in_flight), (15, 16, 0));
    assert_eq!(counts.delivered, 31, "no handler sees a message again that was given up");
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
