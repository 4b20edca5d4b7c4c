//! Connections: who waits for them, who shares them, and what their failure means.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::client::tests::lab::{Answer, Lab, address, at_once, call, is_ejected, settle};
use crate::core::clock;
use crate::core::error::{Result, Retry};
use crate::core::shutdown::TaskTracker;

const MS: Duration = Duration::from_millis(1);

/// Makes calls at once; returns their outcomes and how long the last one took.
async fn many(
    client: &crate::client::Client,
    count: usize,
    timeout: Duration,
) -> (Vec<Result<()>>, Duration) {
    let (tasks, began) = (TaskTracker::new(), clock::now());
    let calls: Vec<_> =
        (0..count).map(|_| tasks.spawn("call", call(client).timeout(timeout))).collect();
    let mut outcomes = Vec::new();
    for call in calls {
        outcomes.push(call.await.unwrap());
    }
    (outcomes, clock::now() - began)
}

async fn with_a_hole() -> Lab {
    let mut lab = Lab::default();
    for name in ["a", "b"] {
        lab.node(name, at_once(Ok(()))).await;
    }
    lab.dig("b");
    lab
}

/// F2.
#[tokio::test(start_paused = true)]
async fn callers_share_one_dial_and_its_failure_and_go_elsewhere() {
    let lab = with_a_hole().await;
    let client = lab.builder().build();
    let (outcomes, took) = many(&client, 200, Duration::from_secs(10)).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert!(took <= 1010 * MS, "{took:?}");
    assert_eq!((lab.dials("a"), lab.dials("b")), (1, 1));
    assert!(is_ejected(&client, "b") && !is_ejected(&client, "a"));
}

#[tokio::test(start_paused = true)]
async fn a_short_deadline_leaves_time_for_another_node() {
    let lab = with_a_hole().await;
    let client = lab.builder().build();
    let (outcomes, took) = many(&client, 50, 400 * MS).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert!(took <= 250 * MS, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dial_goes_on_when_its_callers_leave_and_ejects_the_node() {
    let mut lab = Lab::default();
    lab.node("a", at_once(Ok(()))).await;
    lab.dig("a");
    let client = lab.builder().build();
    for _ in 0..9 {
        let error = call(&client).timeout(100 * MS).await.unwrap_err();
        assert_eq!((error.code(), error.retry()), (408, Retry::Safe), "{error}");
    }
    assert!(!is_ejected(&client, "a"), "callers in a hurry know nothing of the node");
    clock::sleep(200 * MS).await;
    assert!(is_ejected(&client, "a"));
    assert_eq!(lab.dials("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_while_connecting_does_not_eject_the_node() {
    let mut lab = Lab::delaying(20 * MS);
    lab.node("a", at_once(Ok(()))).await;
    let client = lab.builder().build();
    assert_eq!(call(&client).timeout(5 * MS).await.unwrap_err().code(), 408);
    clock::sleep(100 * MS).await;
    assert!(!is_ejected(&client, "a"));
    call(&client).timeout(5 * MS).await.unwrap();
    assert_eq!(lab.dials("a"), 1, "the dial was kept for those who came later");
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_is_cut_tells_those_who_wait() {
    let lab = with_a_hole().await;
    lab.dig("a");
    let tasks = TaskTracker::new();
    let client = lab.builder().tasks(tasks.clone()).build();
    let began = clock::now();
    let (error, ()) = tokio::join!(call(&client), async {
        clock::sleep(10 * MS).await;
        tasks.abort_all();
    });
    assert_eq!((error.unwrap_err().code(), clock::now() - began), (503, 10 * MS));
    assert!(!is_ejected(&client, "a") && !is_ejected(&client, "b"));
}

/// Each call waits for a permit; the node counts those that wait.
fn gated(gate: &Arc<Semaphore>, running: &Arc<AtomicUsize>) -> Answer {
    let (gate, running) = (Arc::clone(gate), Arc::clone(running));
    Arc::new(move |_| {
        let (gate, running) = (Arc::clone(&gate), Arc::clone(&running));
        Box::pin(async move {
            running.fetch_add(1, Ordering::Relaxed);
            gate.acquire().await.unwrap().forget();
            running.fetch_sub(1, Ordering::Relaxed);
            Ok(())
        })
    })
}

#[tokio::test(start_paused = true)]
async fn callers_without_room_wait_for_any_connection_and_eject_nobody() {
    let (gate, running) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut lab = Lab::default();
    lab.limits.stream.native_max = 1;
    lab.node("a", gated(&gate, &running)).await;
    let client = lab.builder().build();
    let (outcomes, ()) = tokio::join!(many(&client, 40, Duration::from_secs(10)), async {
        clock::sleep(50 * MS).await;
        assert_eq!((running.load(Ordering::Relaxed), lab.dials("a")), (4, 4));
        let hurried = call(&client).timeout(10 * MS).await.unwrap_err();
        assert_eq!(hurried.code(), 408);
        assert!(!is_ejected(&client, "a"));
        for served in 1..=40 {
            gate.add_permits(1);
            settle().await;
            assert_eq!(lab.calls("a"), (served + 4).min(40), "the next one runs at once");
        }
    });
    assert!(outcomes.0.iter().all(Result::is_ok));
    assert_eq!(lab.dials("a"), 4);
}

#[tokio::test(start_paused = true)]
async fn an_extra_dial_that_fails_leaves_the_other_connections_and_their_node_alone() {
    let (gate, running) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut lab = Lab::default();
    lab.limits.stream.native_max = 1;
    lab.node("a", gated(&gate, &running)).await;
    let client = lab.builder().build();
    let (outcomes, ()) = tokio::join!(many(&client, 2, Duration::from_secs(10)), async {
        settle().await;
        lab.dig("a");
        let (more, ()) = tokio::join!(many(&client, 2, Duration::from_secs(10)), async {
            clock::sleep(1500 * MS).await;
            assert!(!is_ejected(&client, "a"));
            gate.add_permits(10);
        });
        assert!(more.0.iter().all(Result::is_ok));
    });
    assert!(outcomes.0.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn a_closed_connection_is_forgotten_without_a_further_call() {
    let mut lab = Lab::default();
    lab.node("a", at_once(Ok(()))).await;
    let client = lab.builder().build();
    call(&client).await.unwrap();
    let peer = client.inner.pool.peer(&address("a"));
    let connection = Arc::downgrade(&peer.ready().unwrap());
    lab.stop("a");
    clock::sleep(MS).await;
    assert!(peer.ready().is_none());
    assert!(connection.upgrade().is_none(), "nothing holds its socket");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_closed_between_two_calls_costs_neither_a_retry_nor_the_node() {
    let mut lab = Lab::default();
    lab.node("a", at_once(Ok(()))).await;
    let client = lab.builder().build();
    call(&client).await.unwrap();
    client.inner.pool.peer(&address("a")).ready().unwrap().close();
    call(&client).retries(0).await.unwrap();
    assert_eq!((lab.dials("a"), lab.calls("a")), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_drained_client_finishes_what_runs_and_dials_no_more() {
    let (gate, running) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut lab = Lab::delaying(20 * MS);
    lab.node("a", gated(&gate, &running)).await;
    lab.node("late", at_once(Ok(()))).await;
    let client = lab.builder().build();
    let (outcome, late, ()) = tokio::join!(
        call(&client).to("memory:a"),
        async {
            clock::sleep(50 * MS).await;
            call(&client).to("memory:late").await
        },
        async {
            clock::sleep(60 * MS).await;
            client.drain();
            let error = call(&client).await.unwrap_err();
            assert_eq!((error.code(), error.retry()), (503, Retry::Safe));
            let error = call(&client).to("memory:b").await.unwrap_err();
            assert_eq!((error.code(), error.retry()), (503, Retry::Safe));
            gate.add_permits(1);
        }
    );
    outcome.unwrap();
    assert_eq!(late.unwrap_err().code(), 503, "its dial ended after the drain");
    assert_eq!(lab.calls("late"), 0);
    assert_eq!((lab.dials("a"), lab.dials("b")), (1, 0));
}
