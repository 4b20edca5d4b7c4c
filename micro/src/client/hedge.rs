//! A second request for a slow answer, as "The Tail at Scale" (Dean and Barroso, 2013) describes.

use std::pin::pin;
use std::time::Duration;

use crate::client::attempt::Chosen;
use crate::client::layer::Reply;
use crate::client::turn::{Failed, Turn};
use crate::core::clock;
use crate::core::error::Result;

/// Makes a try, and after a while one at another node too; the first success wins and the other
/// request is reset.
///
/// When both fail, the failure is the later one and tells of the other node too.
pub(super) async fn race(first: &Turn<'_>, after: Duration) -> Result<Reply, Failed> {
    let mut no_source = None;
    let mut one = pin!(first.run(&mut no_source));
    if let Ok(done) = clock::timeout(after, &mut one).await {
        return done;
    }
    let Some(chosen) = another(first) else { return one.await };
    let attempt = first.attempt.saturating_add(1);
    let second = Turn { chosen: &chosen, patient: true, attempt, ..*first };
    let mut no_source = None;
    let mut two = pin!(second.run(&mut no_source));
    tokio::select! {
        done = &mut one => match done {
            Ok(reply) => Ok(reply),
            Err(failed) => two.await.map_err(|last| together(failed, last)),
        },
        done = &mut two => match done {
            Ok(reply) => Ok(reply),
            Err(failed) => one.await.map_err(|last| together(failed, last)),
        },
    }
}

/// Chooses a second node, if there is one and the budget allows it.
fn another(first: &Turn<'_>) -> Option<Chosen> {
    let now = clock::now();
    let mut excluded = first.excluded.to_vec();
    excluded.push(first.chosen.instance()?.clone());
    let chosen = first.plan.choose(now, &excluded)?;
    chosen.instance()?;
    // Limit: hedges come out of the retry budget, so that they never multiply an overload.
    first.plan.budget().withdraw(now).then_some(chosen)
}

/// Joins the failures of both nodes.
fn together(first: Failed, last: Failed) -> Failed {
    Failed { also: Some(first.chosen), ..last }
}
