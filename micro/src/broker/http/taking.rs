//! The receiving end of a link: takes copies and answers for each.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Context as Task;
use std::task::Poll;

use futures_core::Stream;
use tokio::sync::mpsc;

use crate::broker::receipt::Receipt;
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::core::stream::BoxSource;
use crate::core::stream::MessageSource;
use crate::core::stream::RawStream;

use super::mailbox::Mailbox;
use super::wire;
use super::wire::Answer;
use super::wire::Word;

/// Copies taken at a time before what has been said of them is sent.
const BATCH: usize = 64;

/// Takes the copies of one publisher as a stream of answers.
struct Taking {
    mailbox: Arc<Mailbox>,
    /// `None` once the publisher has no more.
    copies: Option<RawStream>,
    /// Copies taken and not settled; at most as many as `settled` has room for.
    open: usize,
    open_max: usize,
    settle: mpsc::Sender<Answer>,
    settled: mpsc::Receiver<Answer>,
    /// `None` once the subscription takes nothing more.
    ended: Option<BoxFuture<'static, ()>>,
}

/// Starts to take copies, with at most `open_max` of them unsettled.
pub(super) fn taking(mailbox: Arc<Mailbox>, copies: RawStream, open_max: usize) -> BoxSource {
    let (settle, settled) = mpsc::channel(open_max.max(1));
    let life = mailbox.ended.clone();
    let ended: BoxFuture<'static, ()> = Box::pin(async move { life.draining().await });
    let (copies, ended) = (Some(copies), Some(ended));
    Box::pin(Taking { mailbox, copies, open: 0, open_max, settle, settled, ended })
}

impl Taking {
    /// Takes a copy and says whether.
    fn take(&mut self, bytes: bytes::Bytes, out: &mut Vec<u8>) -> Result<()> {
        let arrived = wire::arrived(bytes)?;
        let number = arrived.number;
        let word = if self.ended.is_none() {
            Word::Gone
        } else if self.open >= self.open_max {
            Word::Full
        } else {
            let settle = self.settle.clone();
            let receipt = Receipt::new(move |settled| {
                // A publisher that is gone hears nothing; room there is for each open copy.
                let answer = Answer { number, word: Word::Settled(settled) };
                let _unheard = settle.try_send(answer).is_err();
            });
            self.mailbox.take(Arc::new(arrived.message), arrived.attempts, receipt)
        };
        if word == Word::Taken {
            self.open += 1;
        }
        Answer { number, word }.put(out);
        Ok(())
    }

    fn poll_copies(&mut self, task: &mut Task<'_>, out: &mut Vec<u8>) -> Result<()> {
        for _ in 0..BATCH {
            let Some(copies) = &mut self.copies else { return Ok(()) };
            match Pin::new(copies).poll_next(task) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Some(Ok(bytes))) => self.take(bytes, out)?,
                // A publisher that is lost has nobody to hear of the copies.
                Poll::Ready(Some(Err(_)) | None) => self.copies = None,
            }
        }
        task.waker().wake_by_ref();
        Ok(())
    }
}

impl MessageSource for Taking {
    fn poll_encode(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Option<Result<()>>> {
        let this = &mut *self;
        let before = out.len();
        if let Some(ended) = &mut this.ended
            && ended.as_mut().poll(task).is_ready()
        {
            this.ended = None;
        }
        if let Err(error) = this.poll_copies(task, out) {
            out.truncate(before);
            return Poll::Ready(Some(Err(error)));
        }
        while let Poll::Ready(Some(answer)) = this.settled.poll_recv(task) {
            this.open = this.open.saturating_sub(1);
            answer.put(out);
        }
        if out.len() > before {
            return Poll::Ready(Some(Ok(())));
        }
        let is_over = this.copies.is_none() || this.ended.is_none();
        if is_over && this.open == 0 { Poll::Ready(None) } else { Poll::Pending }
    }
}
