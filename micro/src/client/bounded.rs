//! Streams of responses that end by the deadline of their call, where the call asks for that.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Task, Poll};

use bytes::Bytes;
use futures_core::Stream;

use crate::client::layer::Reply;
use crate::client::plan::Plan;
use crate::core::clock::{self, Instant, Sleep};
use crate::core::error::{Error, Result};
use crate::core::shutdown::{TaskHandle, TaskTracker};
use crate::core::stream::{RawStream, Streaming};

/// By when a stream of responses is over, and of which call it is.
#[derive(Debug)]
pub(super) struct Bound {
    deadline: Instant,
    call: String,
    tasks: TaskTracker,
}

impl Bound {
    /// Returns the bound of a call that began at this time, if it asks for one.
    pub(super) fn of(plan: &Plan, began: Instant) -> Option<Self> {
        let asked = plan.options.as_ref().is_some_and(|options| options.bounded);
        let route = &plan.endpoint.route;
        asked.then(|| Self {
            deadline: plan.deadline(began),
            call: format!("{} {}", route.service(), route.endpoint()),
            tasks: plan.client().scope.tasks.clone(),
        })
    }

    /// Puts the bound around a stream; a single response came in time.
    pub(super) fn around(self, reply: Reply) -> Reply {
        match reply {
            Reply::Stream(messages) => {
                Reply::Stream(Streaming::from_stream(self.bounded(messages)))
            }
            message @ Reply::Message(_) => message,
        }
    }

    fn bounded(self, messages: RawStream) -> Bounded {
        let messages = Messages(Arc::new(Mutex::new(Some(messages))));
        let (held, deadline) = (messages.clone(), self.deadline);
        // A reader that is busy elsewhere must not keep the handler.
        let watch = self.tasks.spawn("stream deadline", async move {
            clock::sleep_until(deadline).await;
            held.end();
        });
        Bounded {
            messages,
            until: Box::pin(clock::sleep_until(deadline)),
            call: Some(self.call),
            _watch: watch.abort_on_drop(),
        }
    }
}

/// The messages until the stream is over; dropping them resets the call.
#[derive(Clone)]
struct Messages(Arc<Mutex<Option<RawStream>>>);

impl Messages {
    fn end(&self) {
        let ended = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(ended);
    }

    /// Polls for the next message; nothing where the deadline has ended them.
    fn poll(&self, task: &mut Task<'_>) -> Option<Poll<Option<Result<Bytes>>>> {
        let mut messages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        messages.as_mut().map(|messages| Pin::new(messages).poll_next(task))
    }
}

struct Bounded {
    messages: Messages,
    until: Pin<Box<Sleep>>,
    /// None once the stream is over.
    call: Option<String>,
    _watch: TaskHandle,
}

impl Stream for Bounded {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(call) = &this.call else { return Poll::Ready(None) };
        // First: a node that always has one more message must not keep its stream alive.
        let is_over = this.until.as_mut().poll(task).is_ready();
        let Some(next) = (if is_over { None } else { this.messages.poll(task) }) else {
            let detail = format!("{call}: the deadline of the call passed in its stream");
            this.messages.end();
            this.call = None;
            return Poll::Ready(Some(Err(Error::timeout("micro.client", detail))));
        };
        if matches!(next, Poll::Ready(None)) {
            this.messages.end();
            this.call = None;
        }
        next
    }
}
