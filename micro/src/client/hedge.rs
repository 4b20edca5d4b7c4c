//! A second request for a slow answer, as "The Tail at Scale" (Dean and Barroso, 2013) describes.

use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;

use crate::client::attempt::{Attempt, Chosen};
use crate::client::drive::{Failed, Progress, finish, open, try_deadline};
use crate::client::layer::Reply;
use crate::client::plan::Plan;
use crate::core::clock;
use crate::core::error::Result;

/// Tries the call at `first`, and after a while at another node too; the first success wins and
/// the other request is reset.
pub(super) async fn race(
    plan: &Plan,
    progress: &Progress,
    first: &Chosen,
    (after, deadline): (Duration, Instant),
) -> Result<Reply, Failed> {
    let mut one = pin!(attempt(plan, first, deadline));
    if let Ok(done) = clock::timeout(after, &mut one).await {
        return done;
    }
    let now = clock::now();
    let mut excluded = progress.excluded.clone();
    excluded.extend(first.instance().cloned());
    // Limit: hedges come out of the retry budget, so that they never multiply an overload.
    let second = plan.choose(now, &excluded).filter(|_| plan.client().budget.withdraw(now));
    let Some(second) = second.filter(|second| second.instance().is_some()) else {
        return one.await;
    };
    let mut two = pin!(attempt(plan, &second, deadline));
    tokio::select! {
        done = &mut one => if done.is_ok() { done } else { two.await },
        done = &mut two => if done.is_ok() { done } else { one.await },
    }
}

async fn attempt(plan: &Plan, chosen: &Chosen, deadline: Instant) -> Result<Reply, Failed> {
    let connection = open(plan, chosen, deadline).await?;
    let now = clock::now();
    let until = try_deadline(plan, now, deadline);
    let head = plan.head(now, until);
    let counted = Attempt::start(chosen.clone(), now).traced(plan, &head);
    let body = plan.body.clone().unwrap_or_default();
    let started = connection.start(&head, &body, None);
    finish(plan, started, counted, until).await
}
