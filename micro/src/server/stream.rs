//! Streams of responses, polled inside the context of their call.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context as Task, Poll};

use crate::core::context::{Context, Parts, enter_slot};
use crate::core::error::Result;
use crate::core::exchange::{DONE, Outgoing, Slot, panicked};
use crate::core::stream::{BoxSource, MessageSource};

/// Runs a handler that returns a stream; the call is over when the stream is.
pub(super) async fn held(
    context: Context,
    mut slot: Slot,
    handler: impl Future<Output = Result<Outgoing>>,
) -> Result<Outgoing> {
    let outcome = handler.await;
    match outcome {
        Ok(Outgoing::Stream(source)) => {
            // Once the stream has begun the deadline bounds neither it nor the calls made in it.
            let parts = Parts { deadline: None, ..context.parts().clone() };
            let inner = context.derive(parts);
            Ok(Outgoing::Stream(Box::pin(Held {
                source,
                context,
                inner: Some(inner),
                over: false,
                slot,
            })))
        }
        single => {
            slot.finish_with(&single);
            single
        }
    }
}

/// The source of a handler's stream. Dropping it before its end cancels the call.
struct Held {
    source: BoxSource,
    context: Context,
    /// What the source is polled in; away meanwhile.
    inner: Option<Context>,
    over: bool,
    /// Dropped last: the call counts as over when its stream is gone.
    slot: Slot,
}

impl MessageSource for Held {
    fn poll_encode(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Option<Result<()>>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        let start = out.len();
        let source = &mut this.source;
        let poll = || enter_slot(&mut this.inner, || source.as_mut().poll_encode(task, out));
        // The source is never polled again after it unwound, so no broken state is seen.
        let next = match catch_unwind(AssertUnwindSafe(poll)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(next)) => next,
            Err(panic) => {
                out.truncate(start);
                Some(Err(panicked(&this.context, panic.as_ref())))
            }
        };
        match &next {
            Some(Ok(())) => return Poll::Ready(next),
            Some(Err(error)) => this.slot.note(error.code()),
            None => this.slot.note(DONE),
        }
        this.over = true;
        Poll::Ready(next)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.over {
            self.context.cancel();
        }
    }
}
