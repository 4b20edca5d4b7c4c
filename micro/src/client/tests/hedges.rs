//! Second requests for slow answers.

use std::sync::Arc;
use std::time::Duration;

use crate::client::tests::lab::{Answer, Lab, after, at_once, call, idempotent};
use crate::core::budget::Budget;
use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::selector::Random;

const MS: Duration = Duration::from_millis(1);

/// Answers the first calls of all slowly, then at once.
fn slow_at_first(calls: usize, outcome: Result<()>) -> Answer {
    let slow = after(100 * MS, outcome);
    Arc::new(move |before| if before < calls { slow(before) } else { at_once(Ok(()))(before) })
}

async fn lab(calls: usize, outcome: Result<()>) -> Lab {
    let mut lab = Lab::default();
    for name in ["a", "b", "c"] {
        lab.node(name, slow_at_first(calls, outcome.clone())).await;
    }
    lab
}

#[tokio::test(start_paused = true)]
async fn a_slow_node_is_overtaken_by_another_one() {
    let lab = lab(1, Ok(())).await;
    let (client, began) = (lab.builder().build(), clock::now());
    idempotent(&client).hedge(10 * MS).await.unwrap();
    let took = clock::now() - began;
    assert!(took >= 10 * MS && took < 20 * MS, "{took:?}");
    let order = lab.order();
    assert!(order.len() == 2 && order[0] != order[1], "{order:?}");
}

#[tokio::test(start_paused = true)]
async fn a_quick_answer_is_not_hedged_and_neither_is_a_call_that_may_run_only_once() {
    let lab = lab(1, Ok(())).await;
    let client = lab.builder().build();
    idempotent(&client).hedge(200 * MS).await.unwrap();
    assert_eq!(lab.order().len(), 1);
    let lab = self::lab(1, Ok(())).await;
    let (client, began) = (lab.builder().build(), clock::now());
    call(&client).hedge(10 * MS).await.unwrap();
    assert_eq!(lab.order().len(), 1);
    assert!(clock::now() - began >= 100 * MS);
}

#[tokio::test(start_paused = true)]
async fn hedges_come_out_of_the_budget() {
    let lab = lab(usize::MAX, Ok(())).await;
    let budget = Budget::new(clock::now(), 20, 0);
    let client = lab.builder().budget(budget).build();
    for _ in 0..50 {
        idempotent(&client).hedge(10 * MS).await.unwrap();
    }
    assert_eq!(lab.order().len(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_call_to_one_address_burns_no_token() {
    let lab = lab(usize::MAX, Ok(())).await;
    let client = lab.builder().budget(Budget::new(clock::now(), 0, 1)).build();
    for _ in 0..20 {
        idempotent(&client).to("memory:a").hedge(10 * MS).await.unwrap();
    }
    assert_eq!(lab.calls("a"), 20);
    let budget = client.inner.budget.as_ref().unwrap();
    assert_eq!((0..20).filter(|_| budget.withdraw(clock::now())).count(), 10);
}

#[tokio::test(start_paused = true)]
async fn neither_node_of_a_hedge_that_failed_is_asked_again() {
    for _ in 0..20 {
        let lab = lab(2, Err(Error::unavailable("lab", "fails"))).await;
        let client = lab.builder().selector(Arc::new(Random::new())).build();
        idempotent(&client).hedge(10 * MS).await.unwrap();
        let mut order = lab.order();
        order.sort_unstable();
        assert_eq!(order, ["a", "b", "c"]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_hedge_names_the_node_that_it_came_from() {
    let mut lab = Lab::default();
    for name in ["a", "b"] {
        let fails = Error::unavailable("micro.client", format!("from {name}"));
        lab.node(name, after(100 * MS, Err(fails))).await;
    }
    let client = lab.builder().build();
    let error = idempotent(&client).hedge(10 * MS).await.unwrap_err();
    let last = lab.order()[1];
    let text = format!("on {last} (memory:{last}): from {last}");
    assert!(error.detail().contains(&text), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_hedge_covers_a_dial_that_hangs() {
    let lab = lab(0, Ok(())).await;
    lab.dig("a");
    lab.dig("b");
    let client = lab.builder().build();
    for _ in 0..10 {
        let began = clock::now();
        idempotent(&client).hedge(10 * MS).await.unwrap();
        assert!(clock::now() - began <= 1100 * MS);
    }
}
