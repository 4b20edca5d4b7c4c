//! What becomes of each copy.

use std::num::NonZeroUsize;

use super::*;

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
