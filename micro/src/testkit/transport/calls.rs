//! Claims about one message each way.

use bytes::Bytes;

use crate::core::content_type::ContentType;
use crate::core::error::{Error, Result, Retry};
use crate::core::limits::Limits;
use crate::testkit::transport::lab::long;
use crate::testkit::transport::stand::{Stand, Words, reply};
use crate::testkit::transport::{Subject, Verdict, ensure, must};

/// Calls that run at a time, fewer than any transport lets through.
const CALLS: usize = 50;

/// The longest message where a claim sets the limit.
const SMALL: usize = 1000;

pub(super) async fn a_call_is_answered_at_once_or_later(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    for endpoint in ["Lab.Echo", "Lab.Later", "Lab.Echo"] {
        let answer = must(endpoint, stand.unary(endpoint, "\"a\"").await)?;
        ensure(answer == "\"a\"", || format!("{endpoint} was told {answer:?}"))?;
    }
    let called = stand.lab.called();
    ensure(called == 3, || format!("three calls ran {called} times"))
}

pub(super) async fn a_slow_call_holds_up_no_other(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    let slow = must("a slow call", stand.call("Lab.Gate", "\"slow\"", Words::default()).await)?;
    stand.until("the slow call runs", || stand.lab.alive() == 1).await?;
    for _ in 0..3 {
        stand.answers().await?;
    }
    stand.lab.open_gate();
    let answer = must("the slow call", reply(slow).await)?;
    ensure(answer == "\"slow\"", || format!("the slow call was told {answer:?}"))
}

pub(super) async fn many_calls_get_their_own_answers(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    let mut running = Vec::new();
    for n in 0..CALLS {
        let endpoint = if n % 2 == 0 { "Lab.Gate" } else { "Lab.Later" };
        let started = stand.call(endpoint, n.to_string(), Words::default()).await;
        running.push(must(endpoint, started)?);
    }
    stand.lab.open_gate();
    // The last first: answers wait for nobody.
    for (n, exchange) in running.into_iter().enumerate().rev() {
        let answer = must("one of many calls", reply(exchange).await)?;
        ensure(answer == n.to_string(), || format!("call {n} was told {answer:?}"))?;
    }
    let called = stand.lab.called();
    ensure(called == CALLS, || format!("{CALLS} calls ran {called} times"))
}

pub(super) async fn messages_arrive_byte_for_byte(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    let mut bodies: Vec<Bytes> = (2..20).map(long).collect();
    bodies.push("{\"a\":[1,null,\"\\n\\u0000 \u{20ac}\"]}".into());
    if subject.content_type != ContentType::Json {
        bodies.push(Bytes::new());
        bodies.push((0..=u8::MAX).collect());
        bodies.push("\r\n\r\n\0 data: 1\n\n".into());
    }
    for body in bodies {
        for endpoint in ["Lab.Echo", "Lab.Later"] {
            let answer = must(endpoint, stand.unary(endpoint, body.clone()).await)?;
            ensure(answer == body, || format!("{body:?} came back as {answer:?}"))?;
        }
    }
    Ok(())
}

pub(super) async fn large_messages_arrive_whole(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    let most = Limits::DEFAULT.message.bytes_max;
    let frame = Limits::DEFAULT.message.frame_bytes_max;
    for length in [frame - 1, frame, frame + 1, 1 << 20, most] {
        let body = long(length);
        let answer = must("a long call", stand.unary("Lab.Echo", body.clone()).await)?;
        ensure(answer == body, || format!("of {length} bytes {} came back", answer.len()))?;
    }
    Ok(())
}

fn small() -> Limits {
    let mut limits = Limits::default();
    limits.message.bytes_max = SMALL;
    limits
}

pub(super) async fn requests_beyond_the_limit_of_the_server_are_refused(
    subject: &Subject,
) -> Verdict {
    refuses_long(&Stand::with_limits(subject, small(), Limits::default()).await?).await
}

pub(super) async fn requests_beyond_the_limit_of_the_caller_are_refused(
    subject: &Subject,
) -> Verdict {
    refuses_long(&Stand::with_limits(subject, Limits::default(), small()).await?).await
}

async fn refuses_long(stand: &Stand) -> Verdict {
    let fits = must("at the limit", stand.unary("Lab.Echo", long(SMALL)).await)?;
    ensure(fits.len() == SMALL, || format!("of {SMALL} bytes {} came back", fits.len()))?;
    for length in [SMALL + 1, 10 * SMALL] {
        let called = stand.lab.called();
        is_too_large(length, &stand.unary("Lab.Echo", long(length)).await)?;
        let ran = stand.lab.called() - called;
        ensure(ran == 0, || format!("{length} bytes reached a handler"))?;
    }
    stand.answers().await
}

pub(super) async fn responses_beyond_the_limit_are_refused(subject: &Subject) -> Verdict {
    let stand = Stand::with_limits(subject, Limits::default(), small()).await?;
    let fits = must("at the limit", stand.unary("Lab.Long", SMALL.to_string()).await)?;
    ensure(fits.len() == SMALL, || format!("of {SMALL} bytes {} came back", fits.len()))?;
    for length in [SMALL + 1, 10 * SMALL] {
        is_too_large(length, &stand.unary("Lab.Long", length.to_string()).await)?;
        stand.answers().await?;
    }
    Ok(())
}

/// Fails unless a message was refused for its length, for good.
pub(super) fn is_too_large(length: usize, outcome: &Result<Bytes>) -> Verdict {
    let code = outcome.as_ref().map_or_else(Error::code, |_| 200);
    ensure(code == 413, || format!("{length} bytes where {SMALL} may be: {code}"))?;
    let verdict = outcome.as_ref().map_or_else(Error::retry, |_| Retry::Unknown);
    ensure(verdict == Retry::Never, || format!("a message too long is {verdict:?} to repeat"))
}
