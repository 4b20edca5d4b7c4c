//! Claims about those who stop: callers that go away, and readers that do not keep up.

use crate::testkit::transport::sources::{self, FLOOD_BYTES, Progress};
use crate::testkit::transport::stand::{Stand, Words, reply};
use crate::testkit::transport::streams::reads;
use crate::testkit::transport::{Subject, Verdict, ensure, must};

/// Messages that may be under way to somebody who does not read: 16 MiB, the buffers of an
/// operating system included.
const HELD_MAX: usize = 16 * 1024 * 1024 / FLOOD_BYTES;

pub(super) async fn a_dropped_call_reaches_its_handler(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    for _ in 0..3 {
        let call = must("a call", stand.call("Lab.Gate", "1", Words::default()).await)?;
        // Whoever polls a call has it sent.
        let waiting = stand.until("the handler runs", || stand.lab.alive() == 1);
        tokio::select! {
            biased;
            outcome = reply(call) => return Err(format!("the gate returns {outcome:?}")),
            running = waiting => running?,
        }
        stand.until("the handler of a dropped call ends", || stand.lab.alive() == 0).await?;
    }
    stand.answers().await
}

pub(super) async fn a_dropped_stream_reaches_its_producer(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    for _ in 0..3 {
        let mut flood = must("a stream", stand.stream("Lab.Flood", "null").await)?;
        reads(&mut flood, 0..3, subject.patience).await?;
        drop(flood);
        let flood = &stand.lab.flood;
        stand.until("a stream that nobody reads ends", || flood.alive() == 0).await?;
        stand.answers().await?;
    }
    Ok(())
}

pub(super) async fn a_dropped_call_lets_go_of_its_requests(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    let sent = Progress::default();
    let source = sources::flood(&sent);
    let call = must("a call", stand.with_requests("Lab.Hold", source).await)?;
    let waiting = stand.until("the handler runs", || stand.lab.alive() == 1);
    tokio::select! {
        biased;
        outcome = reply(call) => return Err(format!("a held call returns {outcome:?}")),
        running = waiting => running?,
    }
    stand.until("the handler of a dropped call ends", || stand.lab.alive() == 0).await?;
    stand.until("the requests of a dropped call end", || sent.alive() == 0).await?;
    stand.answers().await
}

pub(super) async fn an_answer_ends_the_requests(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    let sent = Progress::default();
    let source = sources::flood(&sent);
    let call = must("a call", stand.with_requests("Lab.First", source).await)?;
    let answer = must("its answer", reply(call).await)?;
    ensure(answer == sources::flood_text(0), || format!("the first request was {answer:?}"))?;
    stand.until("requests that nobody reads end", || sent.alive() == 0).await?;
    stand.until("the handler ends", || stand.lab.alive() == 0).await?;
    stand.answers().await
}

pub(super) async fn a_stopped_reader_holds_its_producer_and_nobody_else(
    subject: &Subject,
) -> Verdict {
    let stand = Stand::new(subject).await?;
    let mut flood = must("a stream", stand.stream("Lab.Flood", "null").await)?;
    reads(&mut flood, 0..3, subject.patience).await?;
    let made = &stand.lab.flood;
    let held = stand.settled("what is made for nobody", HELD_MAX, || made.made()).await?;
    for _ in 0..100 {
        stand.answers().await?;
    }
    let other = must("a stream", stand.stream("Lab.Count", "100").await)?;
    let others = must("another stream", other.collect(200).await)?;
    ensure(others.len() == 100, || format!("another stream had {} messages", others.len()))?;
    let after = made.made();
    ensure(after == held, || format!("{} were made for nobody", after - held))?;
    // Whoever reads again gets all of it, in order.
    reads(&mut flood, 3..held + 100, subject.patience).await
}

pub(super) async fn a_handler_that_reads_nothing_holds_its_caller(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    let sent = Progress::default();
    let source = sources::flood(&sent);
    let call = must("a call", stand.with_requests("Lab.Hold", source).await)?;
    let examined = async {
        stand.until("the handler runs", || stand.lab.alive() == 1).await?;
        stand.settled("what is sent to nobody", HELD_MAX, || sent.made()).await?;
        for _ in 0..100 {
            stand.answers().await?;
        }
        Ok(())
    };
    tokio::select! {
        biased;
        outcome = reply(call) => Err(format!("a held call returns {outcome:?}")),
        verdict = examined => verdict,
    }
}
