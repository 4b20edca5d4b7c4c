//! A copy of a message on its way, and how whoever gave it learns what became of it.

use std::fmt;
use std::sync::Arc;

use super::message::Message;

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// A handler acknowledged it.
    Acked,
    /// It went to the dead letters.
    Dead,
    /// It was lost to the overflow policy of its subscription.
    Dropped,
    /// It comes back, after so many deliveries that count: its subscription ended.
    Returned {
        /// Deliveries that count.
        attempts: u32,
    },
}

/// Tells whoever gave a copy what became of it, once.
///
/// One that is dropped unsettled says that the copy comes back.
pub(super) struct Receipt(Option<Box<dyn FnOnce(Settled) + Send>>);

impl Receipt {
    /// Makes a receipt; `tell` is called under locks and must neither wait nor give anything.
    pub(super) fn new(tell: impl FnOnce(Settled) + Send + 'static) -> Self {
        Self(Some(Box::new(tell)))
    }

    /// Says what became of the copy.
    pub(super) fn settle(mut self, settled: Settled) {
        if let Some(tell) = self.0.take() {
            tell(settled);
        }
    }

    /// Says nothing: whoever gave the copy learns otherwise that it was not taken.
    pub(super) fn void(mut self) {
        self.0 = None;
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            tell(Settled::Returned { attempts: 0 });
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipt")
    }
}

/// A copy of a message for one group.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) message: Arc<Message>,
    /// Deliveries before this one that count.
    pub(super) attempts: u32,
    pub(super) receipt: Option<Receipt>,
}

impl From<Arc<Message>> for Parcel {
    fn from(message: Arc<Message>) -> Self {
        Self { message, attempts: 0, receipt: None }
    }
}
