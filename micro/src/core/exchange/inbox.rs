//! What has arrived of a stream and was not read.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use crate::core::body::Body;

/// Messages in the order of their arrival, each a part of the bytes that it arrived with.
///
/// The bytes are counted once for all messages that are parts of them, not once for each. They are
/// freed with the last of these.
#[derive(Default)]
pub struct Inbox {
    /// What the messages are parts of, each with how many of its messages are left.
    wholes: VecDeque<(Bytes, usize)>,
    /// Where each message stands in what it is a part of.
    parts: VecDeque<Range<usize>>,
    /// The bytes of all messages.
    bytes: usize,
}

impl Inbox {
    /// Appends a message.
    pub fn push(&mut self, message: Bytes) {
        self.add(0..message.len());
        self.wholes.push_back((message, 1));
    }

    /// Appends messages that are parts of `whole`, which is kept in memory for them.
    #[inline]
    pub fn share(&mut self, whole: &Bytes, parts: impl IntoIterator<Item = Range<usize>>) {
        let before = self.parts.len();
        parts.into_iter().for_each(|part| self.add(part));
        let count = self.parts.len() - before;
        match self.wholes.back_mut() {
            _ if count == 0 => {}
            // What is held cannot have made room for other bytes at the same place.
            Some((last, left)) if same(last, whole) => *left += count,
            _ => self.wholes.push_back((whole.clone(), count)),
        }
    }

    /// Appends messages that are parts of `whole`, one behind the other, as a copy of what reaches
    /// from the first of them to the end of the last.
    pub fn copy(&mut self, whole: &[u8], parts: impl IntoIterator<Item = Range<usize>>) {
        let mut parts = parts.into_iter();
        let Some(first) = parts.next() else { return };
        let (start, mut end, mut count) = (first.start, first.end, 1);
        self.add(0..first.len());
        for part in parts {
            end = part.end;
            count += 1;
            self.add(part.start - start..part.end - start);
        }
        let span = whole.get(start..end).unwrap_or_default();
        self.wholes.push_back((Bytes::copy_from_slice(span), count));
    }

    #[inline]
    fn add(&mut self, part: Range<usize>) {
        self.bytes += part.len();
        self.parts.push_back(part);
    }

    /// Lists what the messages are parts of.
    #[cfg(test)]
    pub(crate) fn wholes(&self) -> impl Iterator<Item = &Bytes> {
        self.wholes.iter().map(|whole| &whole.0)
    }

    /// Returns how many messages there are.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Tells whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Returns the bytes of all messages.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets all messages.
    pub fn clear(&mut self) {
        self.wholes.clear();
        self.parts.clear();
        self.bytes = 0;
    }

    /// Takes the first message out and hands it to `read`.
    #[inline]
    pub fn take<R>(&mut self, read: impl FnOnce(&Body<'_>) -> R) -> Option<R> {
        let part = self.parts.pop_front()?;
        self.bytes = self.bytes.saturating_sub(part.len());
        // Progress: each turn forgets bytes that a reader panicked at the last message of.
        while self.wholes.front().is_some_and(|whole| whole.1 == 0) {
            self.wholes.pop_front();
        }
        let (whole, left) = self.wholes.front_mut()?;
        *left -= 1;
        let last = *left == 0;
        let done = read(&Body::part(whole, part));
        if last {
            self.wholes.pop_front();
        }
        Some(done)
    }
}

/// Tells whether two values are the same bytes at the same place.
fn same(a: &Bytes, b: &Bytes) -> bool {
    a.as_ptr() == b.as_ptr() && a.len() == b.len()
}

/// Shows how much there is, which itself belongs in no log.
impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("len", &self.len()).field("bytes", &self.bytes).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn taken(inbox: &mut Inbox) -> Option<Bytes> {
        inbox.take(|body| body.share())
    }

    #[test]
    fn messages_leave_in_the_order_of_their_arrival() {
        let mut inbox = Inbox::default();
        let whole = Bytes::from_static(b"..b.cc.dd...e");
        inbox.push("a".into());
        inbox.share(&whole, [2..3, 4..6]);
        inbox.share(&whole, []);
        inbox.share(&whole, [7..7]);
        inbox.push(Bytes::new());
        inbox.copy(&whole, [7..9, 12..13]);
        inbox.copy(&whole, []);
        assert_eq!((inbox.len(), inbox.bytes()), (7, 7));
        assert_eq!(inbox.wholes().count(), 4, "one for all messages of the same bytes");
        let all: Vec<_> = std::iter::from_fn(|| taken(&mut inbox)).collect();
        assert_eq!(all, ["a", "b", "cc", "", "", "dd", "e"]);
        assert!(inbox.is_empty() && inbox.bytes() == 0);
    }

    #[test]
    fn a_copy_holds_nothing_of_the_bytes_around_it() {
        let whole = Bytes::from(vec![7; 100]);
        let mut inbox = Inbox::default();
        inbox.copy(&whole, [10..20, 30..40]);
        assert!(whole.is_unique());
        assert_eq!(inbox.wholes().map(Bytes::len).sum::<usize>(), 30);
    }

    #[test]
    fn bytes_are_freed_with_the_last_of_their_messages() {
        let whole = Bytes::from(vec![1, 2, 3]);
        let mut inbox = Inbox::default();
        inbox.share(&whole, [0..1, 1..3]);
        inbox.push("next".into());
        assert_eq!(inbox.take(|body| body.len()), Some(1));
        assert!(!whole.is_unique());
        assert_eq!(inbox.take(|body| body.len()), Some(2));
        assert!(whole.is_unique());
        assert_eq!(taken(&mut inbox).unwrap(), "next");
        inbox.push(whole.clone());
        inbox.clear();
        assert!(whole.is_unique() && inbox.is_empty() && inbox.bytes() == 0);
    }

    #[test]
    fn a_reader_that_panics_loses_its_own_message_only() {
        let mut inbox = Inbox::default();
        inbox.share(&"ab".into(), [0..1, 1..2]);
        inbox.push("c".into());
        inbox.push("d".into());
        for _ in 0..3 {
            let read = |_: &Body<'_>| panic!("on purpose");
            drop(catch_unwind(AssertUnwindSafe(|| inbox.take(read))).unwrap_err());
        }
        assert_eq!(taken(&mut inbox).unwrap(), "d");
        assert!(taken(&mut inbox).is_none());
    }
}
