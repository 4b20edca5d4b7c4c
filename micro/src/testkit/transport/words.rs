//! Claims about what goes with a message: its head, and errors in its place.

use std::time::Duration;

use serde_json::{Value, json};

use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Extra, Route};
use crate::core::metadata::Metadata;
use crate::core::status::Code;
use crate::core::trace::Trace;
use crate::testkit::transport::lab::{PAUSE, SERVICE, failure};
use crate::testkit::transport::stand::{Stand, Words, reply};
use crate::testkit::transport::streams::is_message;
use crate::testkit::transport::{Subject, Verdict, ensure, must};

/// A call may be over this much after its deadline.
const LATE: Duration = Duration::from_secs(1);

/// Fails unless an error says what the lab's failure of this code says.
fn says_it_all(seen: &Error, code: u16) -> Verdict {
    let sent = failure(usize::from(code));
    let same = seen.code() == code && seen.id() == sent.id() && seen.detail() == sent.detail();
    ensure(same, || format!("{sent:#?} came as {seen:#?}"))?;
    let details = seen.details::<Value>();
    ensure(details == Some(json!({ "left": 3 })), || format!("{code} came with {details:?}"))
}

pub(super) async fn errors_keep_what_they_say(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    for code in Code::all().map(Code::code).filter(|code| *code >= 400) {
        match stand.unary("Lab.Fail", code.to_string()).await {
            Err(error) => says_it_all(&error, code)?,
            Ok(answer) => return Err(format!("a failure was told as {answer:?}")),
        }
    }
    stand.answers().await
}

pub(super) async fn an_unknown_endpoint_is_not_found(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    for (service, endpoint) in [(SERVICE, "Lab.Missing"), ("missing", "Lab.Echo")] {
        let kind = crate::core::descriptor::CallKind::Unary;
        let route = Route::new(service, endpoint, kind);
        // The second call is the first of a connection that remembers names.
        for _ in 0..2 {
            let body = bytes::Bytes::from_static(b"1");
            let call = stand.start(&stand.connection, &route, body, Words::default()).await;
            let outcome = match call {
                Ok(exchange) => reply(exchange).await,
                Err(error) => Err(error),
            };
            let code = outcome.as_ref().map_or_else(Error::code, |_| 200);
            ensure(code == 404, || format!("{service} {endpoint} returns {outcome:?}"))?;
        }
    }
    stand.answers().await
}

pub(super) async fn a_panic_ends_its_own_call_only(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    let other = must("a call", stand.call("Lab.Gate", "1", Words::default()).await)?;
    let outcome = stand.unary("Lab.Panic", "1").await;
    let code = outcome.as_ref().map_or_else(Error::code, |_| 200);
    ensure(code == 500, || format!("a panic returns {outcome:?}"))?;
    stand.lab.open_gate();
    must("another call", reply(other).await)?;
    stand.answers().await
}

pub(super) async fn a_refusal_is_safe_to_repeat(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    match stand.unary("Lab.Refuse", "1").await {
        Ok(answer) => Err(format!("a refusal was told as {answer:?}")),
        Err(error) => {
            let said = (error.code(), error.retry(), error.retry_after());
            ensure(said == (429, Retry::Safe, Some(PAUSE)), || {
                format!("a refusal that may be repeated after {PAUSE:?} came as {said:?}")
            })
        }
    }
}

pub(super) async fn an_error_of_a_handler_is_never_safe_to_repeat(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    for code in ["503", "429", "500"] {
        let outcome = stand.unary("Lab.Fail", code).await;
        let verdict = outcome.as_ref().map_or_else(Error::retry, |_| Retry::Safe);
        ensure(verdict != Retry::Safe, || format!("{code} of a handler came as {outcome:?}"))?;
    }
    Ok(())
}

pub(super) async fn a_stream_keeps_what_came_before_its_error(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    let mut stream = must("a stream", stand.stream("Lab.Breaks", "409").await)?;
    for n in ["0", "1", "2"] {
        is_message(stream.next().await, n)?;
    }
    match stream.next().await {
        Some(Err(error)) => says_it_all(&error, 409)?,
        other => return Err(format!("for the error of a stream came {other:?}")),
    }
    let end = stream.next().await;
    ensure(end.is_none(), || format!("after the error of a stream came {end:?}"))?;
    stand.answers().await
}

pub(super) async fn a_stream_that_fails_at_once_says_why(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    let first = match stand.stream("Lab.Denies", "403").await {
        Err(error) => Some(Err(error)),
        // A transport may learn of it with the first message only.
        Ok(mut stream) => stream.next().await,
    };
    match first {
        Some(Err(error)) => says_it_all(&error, 403),
        other => Err(format!("for a stream that fails at once came {other:?}")),
    }
}

/// Calls with an extra and returns what the handler saw.
async fn described(stand: &Stand, words: Words) -> std::result::Result<Value, String> {
    let call = must("a call", stand.call("Lab.Describe", "null", words).await)?;
    let seen = must("a call", reply(call).await)?;
    serde_json::from_slice(&seen).map_err(|error| format!("{seen:?} is no JSON: {error}"))
}

fn part_of<'a>(seen: &'a Value, part: &str) -> &'a Value {
    seen.get(part).unwrap_or(&Value::Null)
}

fn map(entries: &[(&str, &str)]) -> Result<Metadata> {
    let mut metadata = Metadata::new();
    for (key, value) in entries {
        metadata.insert(*key, *value)?;
    }
    Ok(metadata)
}

pub(super) async fn the_head_arrives_whole(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    let trace = Trace::root();
    let credential = "Bearer of-no-worth";
    let extra = Extra {
        metadata: must("metadata", map(&[("color", "blue, green"), ("size", "7=x")]))?,
        persistent: must("metadata", map(&[("tenant", "acme")]))?,
        headers: must("headers", map(&[("authorization", credential)]))?,
        trace: Some(trace),
    };
    let asked = Duration::from_secs(30);
    for _ in 0..2 {
        let extra = Some(Box::new(extra.clone()));
        let seen = described(&stand, Words { timeout: Some(asked), extra, source: None }).await?;
        let is = |at: &str, wanted: &str| {
            ensure(seen.pointer(at).and_then(Value::as_str) == Some(wanted), || {
                format!("{at} is not {wanted} in {seen}")
            })
        };
        is("/metadata/color", "blue, green")?;
        is("/metadata/size", "7=x")?;
        is("/persistent/tenant", "acme")?;
        is("/authorization", credential)?;
        is("/trace", &trace.to_string())?;
        is("/content_type", subject.content_type.as_str())?;
        let leaks = |part: &str| part_of(&seen, part).to_string().contains("of-no-worth");
        ensure(!leaks("metadata") && !leaks("persistent"), || format!("a credential in {seen}"))?;
        let left = part_of(&seen, "left").as_f64().unwrap_or_default();
        let most = asked.as_secs_f64();
        ensure(left > 0.5 * most && left <= most + 0.01, || {
            format!("of {most} s {left} are left")
        })?;
    }
    let seen = described(&stand, Words::default()).await?;
    let nothing = part_of(&seen, "authorization").is_null()
        && part_of(&seen, "metadata").get("color").is_none();
    ensure(nothing, || format!("a call carries what another one said: {seen}"))
}

pub(super) async fn metadata_in_any_script_arrives_unchanged(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    for value in ["\u{e5}ngstr\u{f6}m \u{20ac}", "100%", "a%20b", " padded ", "", "\"quoted\\\""] {
        let metadata = must("metadata", map(&[("name", value)]))?;
        let persistent = must("metadata", map(&[("owner", value)]))?;
        let extra = Some(Box::new(Extra { metadata, persistent, ..Extra::default() }));
        let seen = described(&stand, Words { extra, ..Words::default() }).await?;
        for at in ["/metadata/name", "/persistent/owner"] {
            let came = seen.pointer(at).and_then(Value::as_str);
            ensure(came == Some(value), || format!("{at}: {value:?} came as {came:?}"))?;
        }
    }
    Ok(())
}

pub(super) async fn a_deadline_ends_the_call_on_both_sides(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    stand.answers().await?;
    let timeout = Duration::from_millis(300);
    let words = Words { timeout: Some(timeout), ..Words::default() };
    let began = clock::now();
    let call = must("a call", stand.call("Lab.Gate", "1", words).await)?;
    let outcome = reply(call).await;
    let took = clock::now() - began;
    let code = outcome.as_ref().map_or_else(Error::code, |_| 200);
    ensure(code == 408, || format!("a call past its deadline returns {outcome:?}"))?;
    ensure(took + Duration::from_millis(10) >= timeout && took <= timeout + LATE, || {
        format!("a deadline of {timeout:?} came after {took:?}")
    })?;
    stand.until("the handler ends", || stand.lab.alive() == 0).await?;
    stand.answers().await
}
