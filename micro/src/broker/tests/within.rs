//! The rules of delivery within one process.

use super::*;

#[tokio::test(start_paused = true)]
async fn k1_within_a_process_too_the_handler_acknowledges() {
    let memory = Memory::new();
    let gate = Arc::new(Semaphore::new(0));
    let waits = Arc::clone(&gate);
    let handler: Handler = Arc::new(move |_| {
        let waits = Arc::clone(&waits);
        Box::pin(async move {
            waits.acquire().await.unwrap().forget();
            Ack::Ack
        })
    });
    let _subscription = memory.subscribe("a", queue("q", 1), handler).await.unwrap();
    memory.publish(message("a")).await.unwrap();
    clock::sleep(Duration::from_secs(1)).await;
    assert_eq!((memory.counts().acked, memory.counts().in_flight), (0, 1));
    gate.add_permits(1);
    until("it is settled", || memory.counts().in_flight == 0).await;
    assert_eq!(memory.counts().acked, 1);
}

#[tokio::test(start_paused = true)]
async fn k3_within_a_process_too_refusals_are_not_retried() {
    let memory = Memory::new();
    let (handler, _came) = decide(|delivery| match (&*delivery.message.body, delivery.attempt) {
        (b"1", 1) => panic!("on purpose"),
        (b"2", 1) => Err(Error::unavailable("shop", "busy")).into(),
        (b"3", _) => Err(Error::bad_request("shop", "no such order")).into(),
        _ => Ok(()).into(),
    });
    let _subscription = memory.subscribe("a", queue("q", 1), handler).await.unwrap();
    for number in 1..=3 {
        memory.publish(numbered("a", number)).await.unwrap();
    }
    until("all is settled", || memory.counts().in_flight == 0).await;
    let counts = memory.counts();
    assert_eq!((counts.acked, counts.dead, counts.retried), (2, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn k4_what_always_fails_is_given_up_and_can_be_replayed() {
    for (publisher, subscriber) in each() {
        let (grave, mut dead) = decide(|_| Ack::Ack);
        let _graves = publisher.subscribe("a.dead", queue("graves", 1), grave).await.unwrap();
        let (handler, mut came) = decide(|_| Ack::RETRY);
        let subscription = subscriber.subscribe("a", queue("q", 1), handler).await.unwrap();
        let sent = numbered("a", 7);
        publisher.publish(sent.clone()).await.unwrap();
        let most = Limits::DEFAULT.broker.deliveries_max;
        for attempt in 1..=most {
            assert_eq!(came.recv().await.unwrap().attempt, attempt);
        }
        let letter = DeadLetter::from_message(&dead.recv().await.unwrap().message).unwrap();
        assert_eq!((letter.attempts, letter.queue.as_deref()), (most, Some("q")));
        assert!(letter.last >= letter.first && !letter.reason.is_empty(), "{letter:?}");
        assert_eq!(*letter.message, sent);
        subscription.close();
        let (handler, mut came) = decide(|_| Ack::Ack);
        let _subscription = subscriber.subscribe("a", queue("q", 1), handler).await.unwrap();
        publisher.publish((*letter.message).clone()).await.unwrap();
        assert_eq!(*came.recv().await.unwrap().message, sent);
    }
}

#[tokio::test(start_paused = true)]
async fn k8_within_a_process_what_fails_is_safe_to_repeat() {
    let mut limits = Limits::DEFAULT;
    limits.broker.pending_messages_max = 1;
    let memory = Memory::with_limits(&limits, TaskTracker::new());
    memory.publish(message("a")).await.unwrap();
    assert_eq!(memory.counts().unrouted, 1);
    let (handler, _came) = hang();
    let _subscription = memory.subscribe("a", queue("q", 1), handler).await.unwrap();
    memory.publish(message("a")).await.unwrap();
    let full = memory.publish(message("a")).await.unwrap_err();
    assert_eq!((full.code(), full.retry()), (429, Retry::Safe), "{full}");
    assert_eq!(memory.counts().routed, 1, "nobody has it");
    let _cut = memory.close(later(1)).await;
    let closed = memory.publish(message("a")).await.unwrap_err();
    assert_eq!((closed.code(), closed.retry()), (503, Retry::Safe), "{closed}");
}

#[tokio::test(start_paused = true)]
async fn k9_within_a_process_nothing_is_kept_for_those_to_come() {
    let memory = Memory::new();
    memory.publish(numbered("a", 1)).await.unwrap();
    assert_eq!((memory.counts().unrouted, memory.counts().in_flight), (1, 0));
    let (handler, mut came) = hang();
    let subscription = memory.subscribe("a", queue("q", 1), handler).await.unwrap();
    for number in 2..7 {
        memory.publish(numbered("a", number)).await.unwrap();
    }
    assert_eq!(came.recv().await.unwrap().message.body, "2");
    assert_eq!(memory.counts().in_flight, 5, "what waits shows");
    subscription.close();
    until("what was left behind is counted", || memory.counts().dropped == 5).await;
    assert_eq!(memory.counts().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn k11_within_a_process_draining_finishes_what_runs_and_loses_nothing() {
    let memory = Memory::new();
    let gate = Arc::new(Semaphore::new(0));
    let waits = Arc::clone(&gate);
    let handler: Handler = Arc::new(move |_| {
        let waits = Arc::clone(&waits);
        Box::pin(async move {
            waits.acquire().await.unwrap().forget();
            Ack::Ack
        })
    });
    let first = memory.subscribe("a", queue("q", 1), handler).await.unwrap();
    for number in 0..3 {
        memory.publish(numbered("a", number)).await.unwrap();
    }
    until("the first one runs", || memory.counts().delivered == 1).await;
    let (handler, mut came) = decide(|_| Ack::Ack);
    let _second = memory.subscribe("a", queue("q", 1), handler).await.unwrap();
    let release = async {
        clock::sleep(Duration::from_secs(1)).await;
        gate.add_permits(1);
    };
    let (drained, ()) = tokio::join!(first.drain(later(30)), release);
    drained.unwrap();
    for number in 1..3 {
        assert_eq!(came.recv().await.unwrap().message.body, number.to_string());
    }
    until("all is settled", || memory.counts().in_flight == 0).await;
    assert_eq!((memory.counts().acked, memory.counts().dropped), (3, 0));
}
