//! One call as a future: send, perhaps yield and flush, await the slot.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::link::{Duty, Link};
use crate::message::Message;
use crate::outcome::Outcome;

/// Resolves to the answer's body. Dropping it frees the slot and keeps a promised flush.
#[derive(Debug)]
pub(super) struct Call<'a> {
    link: &'a Link,
    message: &'a Message,
    step: Step,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Send,
    Flush(u64),
    Await(u64),
    Done,
}

impl<'a> Call<'a> {
    pub(super) fn new(link: &'a Link, message: &'a Message) -> Self {
        Self { link, message, step: Step::Send }
    }
}

impl Future for Call<'_> {
    type Output = Outcome<Bytes>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<Bytes>> {
        match self.step {
            Step::Send => {
                let (id, duty) = match self.link.send(self.message, cx.waker()) {
                    Ok(sent) => sent,
                    Err(error) => return Poll::Ready(Err(error)),
                };
                if duty == Duty::YieldAndFlush {
                    self.step = Step::Flush(id);
                    cx.waker().wake_by_ref();
                } else {
                    self.step = Step::Await(id);
                }
                // The slot holds this very waker, so the answer cannot be missed.
                return Poll::Pending;
            }
            Step::Flush(id) => {
                self.step = Step::Await(id);
                self.link.flush();
            }
            Step::Await(_) | Step::Done => {}
        }
        let Step::Await(id) = self.step else {
            return Poll::Pending;
        };
        let answer = self.link.poll(id, cx);
        if matches!(answer, Poll::Ready(Ok(_))) {
            self.step = Step::Done;
        }
        answer
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        match self.step {
            Step::Send | Step::Done => {}
            Step::Flush(id) => {
                self.link.close(id);
                self.link.flush();
            }
            Step::Await(id) => self.link.close(id),
        }
    }
}
