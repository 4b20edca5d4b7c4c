//! Handlers that panic, hang, or call others.

use std::time::{Duration, Instant};

use micro_tests::chain::FrontClient;
use micro_tests::probe::ProbeClient;

use crate::harness::{Place, Process, until};

const PANICS: usize = 200;

/// The deadline of a call that hangs.
const SHORT: Duration = Duration::from_millis(500);

/// How much later than its deadline anything may end on a busy machine: far below what a hop would
/// wait that did not inherit the deadline. What is promised, 50 ms, is printed to be compared.
const GRACE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_panic_is_the_failure_of_its_call_alone() {
    let place = Place::new();
    let server = place.serve("one").await;
    let probe: ProbeClient = place.client();
    let panics = (0..PANICS).map(|number| probe.panic(number % 2 == 0));
    let panics = tokio::task::JoinSet::from_iter(panics);
    let others = tokio::task::JoinSet::from_iter((0..PANICS).map(|_| probe.write()));
    for panicked in panics.join_all().await {
        let error = panicked.unwrap_err();
        assert_eq!(error.code(), 500, "{error}");
    }
    for other in others.join_all().await {
        assert_eq!(other.unwrap(), "one");
    }
    assert_eq!(probe.gauges().await.unwrap().alive, 0);
    let panicked = |line: &&String| line.contains("panicked at");
    until("every panic was told once", async || {
        server.lines().iter().filter(panicked).count() == PANICS
    })
    .await;
}

#[tokio::test]
async fn a_hanging_handler_ends_with_its_deadline() {
    let place = Place::new();
    let _server = place.serve("one").await;
    let probe: ProbeClient = place.client();
    let began = Instant::now();
    let error = probe.hang().timeout(SHORT).await.unwrap_err();
    let late = began.elapsed().saturating_sub(SHORT);
    println!("the caller heard {late:?} after its deadline");
    assert_eq!(error.code(), 408, "{error}");
    assert!(late < GRACE, "{late:?}");
    until("the handler ended", async || probe.gauges().await.unwrap().alive == 0).await;
}

struct Chain {
    hops: [Process; 3],
    front: FrontClient,
    _place: Place,
}

async fn chain() -> Chain {
    let place = Place::new();
    let hop = async |role: &str| place.server(role).arg(role).serving().await;
    let hops = [hop("back").await, hop("middle").await, hop("front").await];
    Chain { hops, front: place.client(), _place: place }
}

#[tokio::test]
async fn each_hop_of_a_chain_has_less_time_left() {
    let chain = chain().await;
    let timeout = Duration::from_secs(30);
    let left = chain.front.enter(false).timeout(timeout).await.unwrap();
    println!("microseconds left: {left:?}");
    let [front, middle, back] = left[..] else { panic!("{left:?}") };
    assert!(u128::from(front) <= timeout.as_micros(), "{left:?}");
    assert!(front > middle && middle > back, "{left:?}");
}

#[tokio::test]
async fn a_chain_ends_with_its_first_deadline() {
    let chain = chain().await;
    // Connections are made and every hop is known.
    chain.front.enter(false).await.unwrap();
    let timeout = Duration::from_secs(2);
    let began = Instant::now();
    let error = chain.front.enter(true).timeout(timeout).await.unwrap_err();
    let late = began.elapsed().saturating_sub(timeout);
    println!("the caller heard {late:?} after its deadline: {error}");
    assert_eq!(error.code(), 408, "{error}");
    assert!(late < GRACE, "{late:?}");
    for hop in &chain.hops {
        let mut ends = Vec::new();
        until("the hop ended twice", async || {
            ends = hop.lines().into_iter().filter(|line| line.contains(" ended ")).collect();
            ends.len() == 2
        })
        .await;
        println!("{}", ends[1]);
        let late: u64 = ends[1].split(' ').nth(2).unwrap().parse().unwrap();
        assert!(Duration::from_millis(late) < GRACE, "{ends:?}");
    }
}
