//! Streams of responses that end by the deadline of their call, where the call asks for that.

use std::pin::Pin;
use std::task::{Context as Task, Poll};

use bytes::Bytes;
use futures_core::Stream;

use crate::client::layer::Reply;
use crate::client::plan::Plan;
use crate::core::clock::{self, Instant, Sleep};
use crate::core::error::{Error, Result};
use crate::core::stream::{RawStream, Streaming};

/// By when a stream of responses is over, and of which call it is.
#[derive(Debug)]
pub(super) struct Bound {
    deadline: Instant,
    call: String,
}

impl Bound {
    /// Returns the bound of a call that began at this time, if it asks for one.
    pub(super) fn of(plan: &Plan, began: Instant) -> Option<Self> {
        let asked = plan.options.as_ref().is_some_and(|options| options.bounded);
        let route = &plan.endpoint.route;
        asked.then(|| Self {
            deadline: plan.deadline(began),
            call: format!("{} {}", route.service(), route.endpoint()),
        })
    }

    /// Puts the bound around a stream; a single response came in time.
    pub(super) fn around(self, reply: Reply) -> Reply {
        match reply {
            Reply::Stream(messages) => Reply::Stream(Streaming::from_stream(Bounded {
                messages: Some(messages),
                until: Box::pin(clock::sleep_until(self.deadline)),
                call: self.call,
            })),
            message @ Reply::Message(_) => message,
        }
    }
}

struct Bounded {
    /// None once the stream is over; dropping them resets the call.
    messages: Option<RawStream>,
    until: Pin<Box<Sleep>>,
    call: String,
}

impl Stream for Bounded {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(messages) = &mut this.messages else { return Poll::Ready(None) };
        // First: a node that always has one more message must not keep its stream alive.
        if this.until.as_mut().poll(task).is_ready() {
            this.messages = None;
            let detail = format!("{}: the deadline of the call passed in its stream", this.call);
            return Poll::Ready(Some(Err(Error::timeout("micro.client", detail))));
        }
        let next = std::task::ready!(Pin::new(messages).poll_next(task));
        if next.is_none() {
            this.messages = None;
        }
        Poll::Ready(next)
    }
}
