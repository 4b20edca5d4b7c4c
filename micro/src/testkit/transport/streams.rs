//! Claims about streams of messages, each way.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use crate::core::clock;
use crate::core::error::Error;
use crate::core::limits::Limits;
use crate::core::stream::{RawStream, Streaming};
use crate::testkit::transport::lab::failure;
use crate::testkit::transport::sources::{self, flood_text};
use crate::testkit::transport::stand::{Stand, opened, reply};
use crate::testkit::transport::{Subject, Verdict, ensure, must};

/// Messages of a long stream: more bytes than any window.
const MANY: usize = 3000;

pub(super) async fn responses_arrive_in_order_and_end(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    let stream = must("a stream", stand.stream("Lab.Count", "100").await)?;
    let numbers = must("its messages", stream.collect(200).await)?;
    let wanted: Vec<Bytes> = (0..100).map(|n: usize| n.to_string().into()).collect();
    ensure(numbers == wanted, || format!("100 numbers came as {numbers:?}"))?;
    stand.answers().await
}

pub(super) async fn an_empty_stream_ends(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    let stream = must("a stream", stand.stream("Lab.Count", "0").await)?;
    let none = must("its end", stream.collect(1).await)?;
    ensure(none.is_empty(), || format!("of nothing came {none:?}"))
}

pub(super) async fn responses_come_as_they_are_made(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    // It has no end, so that whatever waits for one waits for ever.
    let mut flood = must("a stream", stand.stream("Lab.Flood", "null").await)?;
    for n in 0..10 {
        is_message(flood.next().await, &flood_text(n))?;
    }
    Ok(())
}

/// Fails unless the next message is this one.
pub(super) fn is_message(next: Option<Result<Bytes, Error>>, wanted: &str) -> Verdict {
    match next {
        Some(Ok(message)) if message == wanted => Ok(()),
        other => Err(format!("for {wanted} came {other:?}")),
    }
}

pub(super) async fn requests_are_read_to_their_end(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    for (count, sum) in [(0, "0"), (1, "0"), (101, "5050")] {
        let source = sources::numbers(count, None);
        let call = must("a call", stand.with_requests("Lab.Sum", source).await)?;
        let answer = must("its answer", reply(call).await)?;
        ensure(answer == sum, || format!("{count} numbers sum to {answer:?}"))?;
    }
    Ok(())
}

pub(super) async fn requests_that_fail_are_no_clean_end(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    let source = sources::numbers(3, Some(failure(409)));
    let call = must("a call", stand.with_requests("Lab.Sum", source).await)?;
    let outcome = reply(call).await;
    ensure(outcome.is_err(), || format!("requests that fail were answered by {outcome:?}"))?;
    stand.until("the handler ends", || stand.lab.alive() == 0).await?;
    let ended = stand.lab.ended.load(Ordering::SeqCst);
    ensure(ended == 0, || "the handler took a failure for the end".to_owned())?;
    stand.answers().await
}

pub(super) async fn requests_that_break_off_are_no_clean_end(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    let (sender, stream) = Streaming::channel(4);
    let call = must("a call", stand.with_requests("Lab.Sum", sources::texts(stream)).await)?;
    must("send", sender.send("1".to_owned()).await)?;
    stand.until("the handler runs", || stand.lab.alive() == 1).await?;
    drop(call);
    drop(sender);
    stand.until("the handler ends", || stand.lab.alive() == 0).await?;
    let ended = stand.lab.ended.load(Ordering::SeqCst);
    ensure(ended == 0, || "the handler took a dropped call for the end".to_owned())?;
    stand.answers().await
}

pub(super) async fn both_streams_run_at_a_time(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    let (sender, stream) = Streaming::channel(1);
    let call = must("a call", stand.with_requests("Lab.Mirror", sources::texts(stream)).await)?;
    let mut mirrored = must("its stream", opened(call).await)?;
    for n in 0..20 {
        // Each message is answered before the next one is made.
        must("send", sender.send(n.to_string()).await)?;
        is_message(mirrored.next().await, &n.to_string())?;
    }
    drop(sender);
    let end = mirrored.next().await;
    ensure(end.is_none(), || format!("after the end came {end:?}"))
}

pub(super) async fn many_messages_arrive_whole_each_way(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    let call = must("a call", stand.with_requests("Lab.Mirror", sources::many(MANY)).await)?;
    let mirrored = must("its stream", opened(call).await)?;
    let all = must("its messages", mirrored.collect(2 * MANY).await)?;
    ensure(all.len() == MANY, || format!("of {MANY} messages {} came back", all.len()))?;
    let wrong = all.iter().enumerate().find(|(n, message)| **message != flood_text(*n));
    ensure(wrong.is_none(), || format!("out of order: {wrong:?}"))
}

pub(super) async fn a_response_beyond_the_limit_ends_its_stream_alone(
    subject: &Subject,
) -> Verdict {
    let mut small = Limits::default();
    small.message.bytes_max = 1000;
    let stand = Stand::with_limits(subject, Limits::default(), small).await?;
    let stream = must("a stream", stand.stream("Lab.Grows", "1000").await)?;
    let fits = must("messages at the limit", stream.collect(3).await)?;
    ensure(fits.len() == 2, || format!("of 2 messages {} came", fits.len()))?;
    for length in ["1001", "10000"] {
        let mut stream = must("a stream", stand.stream("Lab.Grows", length).await)?;
        is_message(stream.next().await, "\"short\"")?;
        let end = stream.next().await;
        let code = end.as_ref().map(|next| next.as_ref().map_or_else(Error::code, |_| 200));
        ensure(code == Some(413), || format!("{length} bytes where 1000 may be: {code:?}"))?;
        stand.answers().await?;
    }
    Ok(())
}

/// Reads messages of a flood by their numbers.
pub(super) async fn reads(
    flood: &mut RawStream,
    numbers: std::ops::Range<usize>,
    patience: Duration,
) -> Verdict {
    for n in numbers {
        match clock::timeout(patience, flood.next()).await {
            Ok(next) => is_message(next, &flood_text(n))?,
            Err(_elapsed) => return Err(format!("message {n} never comes")),
        }
    }
    Ok(())
}
