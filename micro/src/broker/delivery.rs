//! One message on its way to one subscription, and what becomes of it.

use std::any::Any;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::core::clock;
#[cfg(feature = "client")]
use crate::core::context::Parts;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::error::Retry;
use crate::core::panic;
use crate::core::status::Code;
#[cfg(feature = "client")]
use crate::core::trace::{TRACE_KEY, Trace};

use super::Handler;
use super::message::Message;

/// One message handed to one handler.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Delivery {
    /// The message, shared by all groups that get it.
    pub message: Arc<Message>,
    /// Counts the deliveries of this message to this group, from 1.
    pub attempt: u32,
}

impl Delivery {
    /// Makes a delivery, for a backend.
    pub fn new(message: Arc<Message>, attempt: u32) -> Self {
        Self { message, attempt }
    }

    /// Returns what the context begins with in which the message is handled: its metadata and its
    /// place in the trace, but no deadline.
    #[cfg(feature = "client")]
    pub fn parts(&self) -> Parts {
        let metadata = self.message.metadata.clone();
        Parts {
            trace: metadata.get(TRACE_KEY).and_then(Trace::parse).map(Trace::child),
            metadata,
            remote: Some("broker".into()),
            ..Parts::default()
        }
    }
}

/// What a handler decides about a delivery.
#[allow(clippy::exhaustive_enums, reason = "every backend has to act on every decision")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ack {
    /// It is done.
    Ack,
    /// It is to be delivered again, to any member of the group.
    Retry {
        /// How long to wait; `None` leaves it to the backend, which backs off.
        after: Option<Duration>,
    },
    /// It will never succeed: it goes to the dead letters.
    Reject {
        /// Why, for the person who reads the dead letters.
        reason: String,
    },
}

impl Ack {
    /// Asks for another delivery, when the backend sees fit.
    pub const RETRY: Self = Self::Retry { after: None };

    /// Rejects for a reason.
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject { reason: reason.into() }
    }

    /// Decides about a delivery whose handler failed.
    ///
    /// An error that says that another try would fail alike is a rejection: a malformed, unknown or
    /// too long payload, a missing thing, a missing right. Everything else is a retry, faults of the
    /// handler itself (500) among it, and honours the error's wish to wait.
    pub fn from_error(error: &Error) -> Self {
        let passing = matches!(
            error.kind(),
            Code::Aborted | Code::Cancelled | Code::Internal | Code::ResourceExhausted
        );
        // Of what is exhausted, a limit of length stays as it is.
        if error.retry() == Retry::Never && (!passing || error.code() == 413) {
            return Self::reject(error.to_string());
        }
        Self::Retry { after: error.retry_after() }
    }
}

impl From<Result<()>> for Ack {
    fn from(outcome: Result<()>) -> Self {
        match outcome {
            Ok(()) => Self::Ack,
            Err(error) => Self::from_error(&error),
        }
    }
}

/// Runs a handler on a delivery the way every backend has to.
///
/// A panic is a retry, for this delivery alone. A handler that has not decided within
/// `ack_timeout` is dropped at its next await, which is a retry too. Dropping the future drops the
/// handler; the backend then delivers again.
pub async fn deliver(handler: &Handler, delivery: Delivery, ack_timeout: Duration) -> Ack {
    let topic = Arc::clone(&delivery.message);
    let Ok(mut handling) = catch_unwind(AssertUnwindSafe(|| handler(delivery)))
        .map_err(|payload| report_panic(&topic.topic, payload.as_ref()))
    else {
        return Ack::RETRY;
    };
    let guarded = poll_fn(|cx| {
        match catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(cx))) {
            Ok(poll) => poll,
            // The future is not polled again: this one ends here.
            Err(payload) => {
                report_panic(&topic.topic, payload.as_ref());
                Poll::Ready(Ack::RETRY)
            }
        }
    });
    clock::timeout(ack_timeout, guarded).await.unwrap_or_else(|_elapsed| {
        tracing::warn!(topic = topic.topic, ?ack_timeout, "handler took too long, will retry");
        Ack::RETRY
    })
}

fn report_panic(topic: &str, payload: &(dyn Any + Send)) {
    let text = panic::text(payload).unwrap_or("?");
    tracing::error!(topic, panic = text, "subscriber panicked, will retry");
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::core::content_type::ContentType;

    fn delivery() -> Delivery {
        let message = Message::new("orders.created", ContentType::Json, Bytes::new());
        Delivery::new(Arc::new(message), 1)
    }

    async fn run(handler: Handler) -> Ack {
        deliver(&handler, delivery(), Duration::from_secs(30)).await
    }

    /// K3.
    #[test]
    fn an_error_is_never_an_acknowledgement() {
        for code in 400..=599 {
            assert_ne!(Ack::from(Err(Error::new("shop", code, "no"))), Ack::Ack, "{code}");
        }
    }

    /// K3.
    #[test]
    fn an_error_is_a_retry_unless_another_try_would_fail_alike() {
        for code in [408, 423, 429, 499, 500, 502, 503, 504, 520] {
            let ack = Ack::from_error(&Error::new("shop", code, "no"));
            assert_eq!(ack, Ack::RETRY, "{code}");
        }
        for code in [400, 401, 403, 404, 409, 412, 413, 415, 416, 501] {
            let ack = Ack::from_error(&Error::new("shop", code, "no"));
            assert!(
                matches!(&ack, Ack::Reject { reason } if reason == "shop: no"),
                "{code} {ack:?}"
            );
        }
        let safe = Error::bad_request("shop", "no").with_retry(Retry::Safe);
        assert_eq!(Ack::from_error(&safe), Ack::RETRY);
        let hint = Duration::from_secs(7);
        let busy = Error::unavailable("shop", "no").with_retry_after(hint);
        assert_eq!(Ack::from_error(&busy), Ack::Retry { after: Some(hint) });
    }

    /// K3.
    #[tokio::test]
    async fn a_panic_is_a_retry() {
        assert_eq!(run(Arc::new(|_| panic!("at once"))).await, Ack::RETRY);
        let late = run(Arc::new(|_| {
            Box::pin(async {
                tokio::task::yield_now().await;
                panic!("later {}", 1)
            })
        }));
        assert_eq!(late.await, Ack::RETRY);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_hangs_is_dropped_and_retried() {
        let start = clock::now();
        assert_eq!(run(Arc::new(|_| Box::pin(std::future::pending()))).await, Ack::RETRY);
        assert_eq!(clock::now() - start, Duration::from_secs(30));
    }
}
