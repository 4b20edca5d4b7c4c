//! Claims about spans.

use super::{Claim, Subject, Verdict, declare, ensure, must};
use crate::core::clock;
use crate::core::future::BoxFuture;
use crate::core::trace::Trace;
use crate::debug::{Span, SpanKind, SpanQuery};

fn span(trace: Trace, name: &str) -> Span {
    let span = Span::new(trace, name, SpanKind::Client);
    Span { started_us: 1_700_000_000_000_000, duration_ns: 1234, code: 409, ..span }
}

/// Asks until as many spans are found, or patience ends.
async fn found(subject: &Subject, query: &SpanQuery, count: usize) -> Result<Vec<Span>, String> {
    let deadline = clock::after(clock::now(), subject.patience);
    loop {
        let spans = must("spans", subject.recorder.spans(query).await)?;
        if spans.len() == count || clock::now() >= deadline {
            return Ok(spans);
        }
        clock::sleep(std::time::Duration::from_millis(10)).await;
    }
}

declare! {
    async fn a_span_is_found_whole_by_its_trace(subject) {
        if !subject.recorder.capabilities().spans { return Ok(()) }
        let (one, two) = (Trace::root(), Trace::root());
        let (first, second) = (span(one, "shop.Orders.Place"), span(one.child(), "stock.Stock.Take"));
        subject.recorder.span(first.clone());
        subject.recorder.span(span(two, "other"));
        subject.recorder.span(second.clone());
        let wanted = [first, second];
        let query = SpanQuery::of(format!("{:032x}", one.trace_id()));
        let spans = found(subject, &query, 2).await?;
        ensure(spans == wanted, || format!("{wanted:?} is found as {spans:?}"))
    }

    async fn a_trace_that_is_not_there_has_no_spans(subject) {
        if !subject.recorder.capabilities().spans { return Ok(()) }
        subject.recorder.span(span(Trace::root(), "other"));
        let spans = found(subject, &SpanQuery::of("7"), 0).await?;
        ensure(spans.is_empty(), || format!("{spans:?} is found"))
    }

    async fn as_many_spans_as_declared_are_kept_and_they_are_the_latest(subject) {
        let able = subject.recorder.capabilities();
        if !able.spans { return Ok(()) }
        let (kept, root) = (able.spans_kept.min(5000), Trace::root());
        for n in 0..kept + 3 {
            subject.recorder.span(span(root.child(), &n.to_string()));
        }
        let last = found(subject, &SpanQuery::last(2), 2).await?;
        let names: Vec<_> = last.iter().map(|span| span.name.clone()).collect();
        let wanted = [(kept + 1).to_string(), (kept + 2).to_string()];
        ensure(names == wanted, || format!("the last are {names:?}, not {wanted:?}"))?;
        let all = must("spans", subject.recorder.spans(&SpanQuery::default()).await)?.len();
        ensure(all >= kept, || format!("{all} are kept, {kept} should be"))
    }
}
