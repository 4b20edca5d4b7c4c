//! Claims about how connections and nodes end, and what their calls learn of it.

use bytes::Bytes;

use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::Exchange;
use crate::testkit::transport::dialing::called_at;
use crate::testkit::transport::stand::{Stand, Words, reply};
use crate::testkit::transport::streams::reads;
use crate::testkit::transport::{Subject, Verdict, ensure, must};

/// Calls and streams that are dropped one after the other.
const DROPPED: usize = 30;

/// Starts a call that waits at the gate, and sees it run.
async fn waiting(stand: &Stand) -> std::result::Result<Exchange, String> {
    let mut call = must("a call", stand.call("Lab.Gate", "\"held\"", Words::default()).await)?;
    let running = stand.until("the handler runs", || stand.lab.alive() == 1);
    let early = std::future::poll_fn(|task| call.poll_reply(task));
    tokio::select! {
        biased;
        answer = early => return Err(format!("the gate returns {answer:?}")),
        running = running => running?,
    }
    Ok(call)
}

/// How a call finds its node.
#[derive(Clone, Copy)]
enum Road {
    /// On the connection that there is.
    Held,
    /// On one that is dialed for it.
    Dialed,
}

/// Fails unless a call is refused such that it may be made elsewhere, once word has come.
async fn refuses(stand: &Stand, subject: &Subject, road: Road) -> Verdict {
    let deadline = clock::after(clock::now(), subject.patience);
    loop {
        let outcome = match road {
            Road::Held => stand.unary("Lab.Echo", "1").await,
            Road::Dialed => called_at(stand, &stand.bound).await,
        };
        match outcome {
            Err(error) => {
                return ensure(error.retry() == Retry::Safe, || {
                    format!("a call that is not taken is {:?} to repeat: {error:?}", error.retry())
                });
            }
            // Word that the node drains is still under way.
            Ok(_) if clock::now() < deadline => clock::sleep(subject.quiet / 20).await,
            Ok(_) => return Err(format!("{} still takes calls", stand.bound)),
        }
    }
}

pub(super) async fn a_server_that_drains_finishes_what_runs_and_takes_no_more(
    subject: &Subject,
) -> Verdict {
    let stand = Stand::new(subject).await?;
    let running = waiting(&stand).await?;
    stand.server.shutdown.drain();
    refuses(&stand, subject, Road::Held).await?;
    refuses(&stand, subject, Road::Dialed).await?;
    stand.lab.open_gate();
    let answer = must("a call that ran when draining began", reply(running).await)?;
    ensure(answer == "\"held\"", || format!("the call was told {answer:?}"))
}

pub(super) async fn a_connection_that_drains_finishes_what_runs_and_takes_no_more(
    subject: &Subject,
) -> Verdict {
    let stand = Stand::new(subject).await?;
    let running = waiting(&stand).await?;
    stand.connection.drain();
    ensure(!stand.connection.is_open(), || "a connection that drains is open".to_owned())?;
    let refused = stand.call("Lab.Echo", "1", Words::default()).await;
    let verdict = refused.as_ref().map_or_else(Error::retry, |_| Retry::Unknown);
    ensure(verdict == Retry::Safe, || format!("a connection that drains returns {refused:?}"))?;
    stand.lab.open_gate();
    let answer = must("a call that ran when draining began", reply(running).await)?;
    ensure(answer == "\"held\"", || format!("the call was told {answer:?}"))?;
    match clock::timeout(subject.patience, stand.connection.closed()).await {
        Ok(()) => Ok(()),
        Err(_elapsed) => Err("a connection that has drained never closes".to_owned()),
    }
}

/// Fails unless an outcome says that the call may have run.
fn is_unknown(what: &str, outcome: &Result<Bytes>) -> Verdict {
    let verdict = outcome.as_ref().map_or_else(Error::retry, |_| Retry::Safe);
    ensure(verdict == Retry::Unknown, || format!("{what}: {verdict:?} to repeat: {outcome:?}"))
}

pub(super) async fn a_closed_connection_ends_its_calls(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    let running = waiting(&stand).await?;
    stand.connection.close();
    is_unknown("a call whose connection was closed", &reply(running).await)?;
    ensure(!stand.connection.is_open(), || "a closed connection is open".to_owned())?;
    let refused = stand.call("Lab.Echo", "1", Words::default()).await;
    let verdict = refused.as_ref().map_or_else(Error::retry, |_| Retry::Unknown);
    ensure(verdict == Retry::Safe, || format!("a closed connection returns {refused:?}"))?;
    if clock::timeout(subject.patience, stand.connection.closed()).await.is_err() {
        return Err("a closed connection never says so".to_owned());
    }
    stand.until("the handler of a cut call ends", || stand.lab.alive() == 0).await
}

pub(super) async fn a_server_that_closes_leaves_outcomes_unknown(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    let running = waiting(&stand).await?;
    stand.server.shutdown.drain();
    stand.server.shutdown.close();
    is_unknown("a call whose server closed", &reply(running).await)?;
    stand.until("the handler of a cut call ends", || stand.lab.alive() == 0).await?;
    refuses(&stand, subject, Road::Dialed).await
}

pub(super) async fn a_server_that_closes_ends_no_stream_cleanly(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    let mut flood = must("a stream", stand.stream("Lab.Flood", "null").await)?;
    reads(&mut flood, 0..3, subject.patience).await?;
    stand.server.shutdown.drain();
    stand.server.shutdown.close();
    // Progress: each turn takes a message of those under way.
    loop {
        match clock::timeout(subject.patience, flood.next()).await {
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(error))) => {
                return ensure(error.retry() == Retry::Unknown, || {
                    format!("a stream that was cut is {:?} to repeat", error.retry())
                });
            }
            Ok(None) => return Err("a stream that was cut ends as if it were whole".to_owned()),
            Err(_elapsed) => return Err("a stream that was cut never ends".to_owned()),
        }
    }
}

/// Fails unless no more tasks are left than there were.
async fn no_more_than(stand: &Stand, before: (usize, usize)) -> Verdict {
    let tasks = || (stand.server.tasks.len(), stand.client.tasks.len());
    let few = || tasks().0 <= before.0 && tasks().1 <= before.1;
    stand.until("no task is left", few).await.map_err(|why| {
        let names = (stand.server.tasks.names(), stand.client.tasks.names());
        format!("{why}: {before:?} before, {:?} after: {names:?}", tasks())
    })
}

pub(super) async fn dropped_calls_leave_no_task(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    stand.answers().await?;
    let before = (stand.server.tasks.len(), stand.client.tasks.len());
    for n in 0..DROPPED {
        if n % 2 == 0 {
            drop(waiting(&stand).await?);
        } else {
            drop(must("a call", stand.call("Lab.Gate", "1", Words::default()).await)?);
        }
        stand.until("the handler of a dropped call ends", || stand.lab.alive() == 0).await?;
    }
    stand.answers().await?;
    no_more_than(&stand, before).await
}

pub(super) async fn dropped_streams_leave_no_task(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    stand.answers().await?;
    let before = (stand.server.tasks.len(), stand.client.tasks.len());
    for _ in 0..DROPPED {
        let mut flood = must("a stream", stand.stream("Lab.Flood", "null").await)?;
        reads(&mut flood, 0..2, subject.patience).await?;
        drop(flood);
        stand.until("the stream ends", || stand.lab.flood.alive() == 0).await?;
    }
    stand.answers().await?;
    no_more_than(&stand, before).await
}

pub(super) async fn nothing_runs_after_the_end(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    let _running = waiting(&stand).await?;
    for scope in [&stand.client, &stand.server] {
        scope.shutdown.drain();
        scope.shutdown.close();
    }
    let deadline = clock::after(clock::now(), subject.patience);
    for (side, scope) in [("the caller", &stand.client), ("the server", &stand.server)] {
        let left = scope.tasks.wait(deadline).await;
        ensure(left == 0, || format!("{left} tasks of {side} stay: {:?}", scope.tasks.names()))?;
    }
    stand.until("no handler is left", || stand.lab.alive() == 0).await
}
