//! The streams of one connection, found by slot.
//!
//! A stream id is a slot in its low sixteen bits and a generation in its high ones: finding a
//! stream is an index and a comparison, and a late frame of an earlier use finds nothing.

use std::task::Waker;

use bytes::BytesMut;
use tokio::time::Instant;

use crate::core::error::Result;
use crate::core::exchange::{Answer, Inbound, Inbox};
use crate::core::limits::Limits;
use crate::core::shutdown::TaskHandle;

/// One stream as this side sees it.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The end of the open frame, counted from the first byte of the connection.
    pub(super) sent_at: u64,
    /// When the caller stops waiting; none once a stream of responses has begun. On the accepting
    /// side: when a request that has not all arrived is given up.
    pub(super) deadline: Option<Instant>,
    /// Whoever waits for the answer or the next message.
    pub(super) waker: Option<Waker>,
    /// The answer, until it is taken.
    pub(super) answer: Option<Answer>,
    /// The message of which more is to come.
    pub(super) partial: BytesMut,
    /// The call that runs once its message is complete; only on the accepting side.
    pub(super) pending: Option<Box<Inbound>>,
    /// What a stream of messages needs beyond that.
    pub(super) flow: Option<Box<Flow>>,
    /// The handler, or the pump of requests; aborted when it is dropped with the stream.
    pub(super) task: Option<TaskHandle>,
    /// Whether the handler runs to its end when the caller goes away.
    pub(super) detached: bool,
    /// Whether nothing that the peer may still send matters.
    pub(super) over: bool,
}

/// A stream of messages, one way or both.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Whether the peer has accepted the call.
    pub(super) opened: bool,
    /// What has arrived and was not taken.
    pub(super) inbox: Inbox,
    /// The cost of the inbox and of the batch that is being read.
    pub(super) unread: usize,
    /// How many messages the batch has that is being read.
    pub(super) handed: usize,
    /// The cost of what was read and for which no credit was given yet.
    pub(super) owed: usize,
    /// The read that brought the last message of the inbox, and how many reads brought all.
    pub(super) reads: (u64, usize),
    /// How the messages ended.
    pub(super) end: Option<Result<()>>,
    /// Whether nobody reads any more.
    pub(super) stopped: bool,
    /// What may be sent may cost; a message may be begun while this is above zero.
    pub(super) credit: i64,
    /// The pump, when it waits for credit.
    pub(super) pump: Option<Waker>,
}

impl Flow {
    pub(super) fn new(window: usize) -> Self {
        Self { credit: i64::try_from(window).unwrap_or(i64::MAX), ..Self::default() }
    }
}

/// All streams of a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    slots: Vec<Slot>,
    free: Vec<u16>,
    live: usize,
    partials: Partials,
}

/// What the unfinished messages of a connection amount to.
#[derive(Debug, Default)]
pub(super) struct Partials {
    /// The bytes of all of them.
    pub(super) bytes: usize,
    /// Parts without a byte that arrived in a row.
    pub(super) empty: usize,
}

#[derive(Debug, Default)]
struct Slot {
    id: u32,
    live: bool,
    /// As new while the slot is free, so that opening and ending a plain call moves nothing.
    stream: Stream,
}

impl Slot {
    fn stream(&mut self) -> Option<&mut Stream> {
        self.live.then_some(&mut self.stream)
    }
}

impl Stream {
    /// Tells whether dropping it does nothing.
    fn is_spent(&self) -> bool {
        self.waker.is_none()
            && self.answer.is_none()
            && self.partial.capacity() == 0
            && self.pending.is_none()
            && self.flow.is_none()
            && self.task.is_none()
    }

    /// Makes it as new; returns what is to be dropped, if anything is.
    fn reset(&mut self) -> Option<Self> {
        if !self.is_spent() {
            return Some(std::mem::take(self));
        }
        self.sent_at = 0;
        self.deadline = None;
        self.detached = false;
        self.over = false;
        None
    }
}

const GENERATION: u32 = 1 << 16;

/// Returns the slot of an id.
pub(super) fn slot_of(id: u32) -> usize {
    usize::from(low_half(id))
}

fn low_half(id: u32) -> u16 {
    let [a, b, ..] = id.to_le_bytes();
    u16::from_le_bytes([a, b])
}

impl Streams {
    /// Returns how many streams are open.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Opens a stream, which is as new, in a slot of this side's choice; `None` when `max` are open.
    pub(super) fn open(&mut self, max: usize) -> Option<(u32, &mut Stream)> {
        if self.live >= max {
            return None;
        }
        let index = match self.take_free(max) {
            Some(index) => index,
            None => {
                let index = u16::try_from(self.slots.len()).ok()?;
                self.slots.push(Slot { id: u32::from(index), ..Slot::default() });
                index
            }
        };
        let slot = self.slots.get_mut(usize::from(index))?;
        slot.live = true;
        self.live += 1;
        Some((slot.id, &mut slot.stream))
    }

    /// Takes a free slot below `max`; those beyond were opened before the peer stated its limit.
    fn take_free(&mut self, max: usize) -> Option<u16> {
        // Progress: each turn forgets a slot that must not be used again.
        loop {
            let index = self.free.pop()?;
            if usize::from(index) < max {
                return Some(index);
            }
        }
    }

    /// Opens a stream under the peer's id; `false` when the slot is taken, by whatever generation,
    /// or beyond `max`.
    pub(super) fn accept(&mut self, id: u32, stream: Stream, max: usize) -> bool {
        let index = slot_of(id);
        if index >= max {
            return false;
        }
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, Slot::default);
        }
        match self.slots.get_mut(index) {
            Some(slot) if !slot.live => {
                *slot = Slot { id, live: true, stream };
                self.live += 1;
                true
            }
            _ => false,
        }
    }

    /// Finds an open stream.
    pub(super) fn get(&mut self, id: u32) -> Option<&mut Stream> {
        self.slots.get_mut(slot_of(id)).filter(|slot| slot.id == id)?.stream()
    }

    /// Finds an open stream, and what the unfinished messages of all of them amount to.
    pub(super) fn get_counted(&mut self, id: u32) -> Option<(&mut Stream, &mut Partials)> {
        let slot = self.slots.get_mut(slot_of(id)).filter(|slot| slot.id == id)?;
        Some((slot.stream()?, &mut self.partials))
    }

    /// Counts the beginning of a message whose stream is about to be opened.
    ///
    /// # Errors
    /// When the peer leaves too much unfinished; the connection ends.
    pub(super) fn count(&mut self, length: usize, limits: &Limits) -> Result<()> {
        self.partials.grow(length, limits)
    }

    /// Ends a stream that [`Streams::accept`] opened; returns what of it is to be dropped.
    pub(super) fn remove(&mut self, id: u32) -> Option<Stream> {
        let slot = self.slots.get_mut(slot_of(id)).filter(|slot| slot.id == id && slot.live)?;
        slot.live = false;
        self.live -= 1;
        self.partials.bytes = self.partials.bytes.saturating_sub(slot.stream.partial.len());
        slot.stream.reset()
    }

    /// Ends a stream that [`Streams::open`] opened, and frees its slot for the next generation;
    /// returns what of it is to be dropped.
    pub(super) fn release(&mut self, id: u32) -> Option<Stream> {
        let slot = self.slots.get_mut(slot_of(id)).filter(|slot| slot.id == id && slot.live)?;
        slot.live = false;
        slot.id = id.wrapping_add(GENERATION);
        self.live -= 1;
        self.partials.bytes = self.partials.bytes.saturating_sub(slot.stream.partial.len());
        self.free.push(low_half(id));
        slot.stream.reset()
    }

    /// Visits every open stream.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Stream)> {
        self.slots.iter_mut().filter_map(|slot| Some((slot.id, slot.stream()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_frame_of_an_earlier_use_finds_nothing() {
        let mut streams = Streams::default();
        let first = streams.open(1).unwrap().0;
        assert!(streams.open(1).is_none());
        assert!(streams.release(first).is_none());
        let second = streams.open(1).unwrap().0;
        assert_eq!(slot_of(first), slot_of(second));
        assert!(streams.get(first).is_none());
        assert!(streams.get(second).is_some());
        assert!(streams.release(first).is_none());
        assert_eq!(streams.live(), 1);
    }

    #[test]
    fn a_peer_cannot_open_a_taken_slot_or_one_beyond_the_limit() {
        let mut streams = Streams::default();
        assert!(streams.accept(3, Stream::default(), 4));
        assert!(!streams.accept(3 + GENERATION, Stream::default(), 4));
        assert!(!streams.accept(4, Stream::default(), 4));
        assert!(streams.remove(3).is_none());
        assert!(streams.accept(3 + GENERATION, Stream::default(), 4));
    }

    #[test]
    fn slots_beyond_a_limit_that_became_known_late_are_not_used_again() {
        let mut streams = Streams::default();
        let early: Vec<u32> = (0..8).map(|_| streams.open(8).unwrap().0).collect();
        for id in early {
            assert!(streams.release(id).is_none());
        }
        for _ in 0..3 {
            let ids: Vec<_> = (0..4).map(|_| streams.open(4).unwrap().0).collect();
            assert!(ids.iter().all(|id| slot_of(*id) < 4));
            assert!(streams.open(4).is_none());
            ids.into_iter().for_each(|id| drop(streams.release(id)));
        }
    }

    #[test]
    fn nothing_of_a_stream_is_left_to_the_next_one_in_its_slot() {
        let mut streams = Streams::default();
        for full in [false, true, false] {
            let (id, stream) = streams.open(1).unwrap();
            assert!(stream.is_spent() && !stream.over && !stream.detached);
            assert_eq!((stream.sent_at, stream.deadline), (0, None));
            stream.sent_at = 7;
            stream.deadline = Some(crate::core::clock::now());
            (stream.over, stream.detached) = (true, true);
            if full {
                stream.waker = Some(Waker::noop().clone());
                stream.partial.extend_from_slice(b"part");
            }
            let left = streams.release(id);
            assert_eq!(left.is_some_and(|left| left.waker.is_some()), full);
            assert_eq!(streams.live(), 0);
        }
    }

    #[test]
    fn an_ended_stream_gives_back_the_bytes_of_its_unfinished_message() {
        let mut streams = Streams::default();
        let partial = BytesMut::from(&[7; 100][..]);
        streams.count(100, &Limits::default()).unwrap();
        assert!(streams.accept(0, Stream { partial, ..Stream::default() }, 4));
        assert_eq!(streams.partials.bytes, 100);
        drop(streams.remove(0).unwrap());
        assert_eq!(streams.partials.bytes, 0);
    }
}
