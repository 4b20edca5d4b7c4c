//! Reply slots: a slab whose ids carry a generation, so that a late answer finds nobody.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// Calls that await their answers on one connection.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Free,
    Waiting(Waker),
    Answered(Bytes),
}

impl Slots {
    /// Takes a slot whose answer wakes `waker`, and returns its id.
    pub(super) fn open(&mut self, waker: &Waker) -> u64 {
        let state = State::Waiting(waker.clone());
        let Some(index) = self.free.pop() else {
            let index = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
            self.slots.push(Slot { generation: 0, state });
            return join(index, 0);
        };
        match position(index).and_then(|at| self.slots.get_mut(at)) {
            Some(slot) => {
                slot.state = state;
                join(index, slot.generation)
            }
            None => join(index, 0),
        }
    }

    /// Whether exactly one slot is taken.
    pub(super) fn lone(&self) -> bool {
        self.slots.len() - self.free.len() == 1
    }

    /// Stores an answer and returns whom to wake, which is best done after the lock is released.
    pub(super) fn fill(&mut self, id: u64, body: Bytes) -> Option<Waker> {
        let slot = self.find(id)?;
        match std::mem::replace(&mut slot.state, State::Answered(body)) {
            State::Waiting(waker) => Some(waker),
            State::Free | State::Answered(_) => None,
        }
    }

    /// The answer, which frees the slot; else the task is woken when it comes.
    pub(super) fn poll(&mut self, id: u64, cx: &Context<'_>) -> Poll<Bytes> {
        let Some(slot) = self.find(id) else {
            return Poll::Pending;
        };
        match &mut slot.state {
            State::Answered(body) => {
                let body = std::mem::take(body);
                self.close(id);
                Poll::Ready(body)
            }
            State::Waiting(waker) => {
                waker.clone_from(cx.waker());
                Poll::Pending
            }
            State::Free => Poll::Pending,
        }
    }

    /// Frees a slot; its id is never valid again.
    pub(super) fn close(&mut self, id: u64) {
        if let Some(slot) = self.find(id) {
            slot.state = State::Free;
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(split(id).0);
        }
    }

    /// Takes the wakers of all who wait.
    pub(super) fn wakers(&mut self) -> Vec<Waker> {
        let waiting = self.slots.iter().filter_map(|slot| match &slot.state {
            State::Waiting(waker) => Some(waker.clone()),
            State::Free | State::Answered(_) => None,
        });
        waiting.collect()
    }

    fn find(&mut self, id: u64) -> Option<&mut Slot> {
        let (index, generation) = split(id);
        let slot = self.slots.get_mut(position(index)?)?;
        (slot.generation == generation).then_some(slot)
    }
}

fn join(index: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(index)
}

fn split(id: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = id.to_le_bytes();
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}

fn position(index: u32) -> Option<usize> {
    usize::try_from(index).ok()
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use bytes::Bytes;

    use super::Slots;

    #[test]
    fn a_late_answer_finds_nobody() {
        let mut slots = Slots::default();
        let first = slots.open(Waker::noop());
        slots.close(first);
        let second = slots.open(Waker::noop());
        assert_ne!(first, second);
        assert!(slots.fill(first, Bytes::from_static(b"late")).is_none());
        let cx = Context::from_waker(Waker::noop());
        assert!(slots.poll(second, &cx).is_pending());
        assert!(slots.fill(second, Bytes::from_static(b"mine")).is_some());
        assert_eq!(slots.poll(second, &cx), Poll::Ready(Bytes::from_static(b"mine")));
    }

    #[test]
    fn a_lone_slot_is_known() {
        let mut slots = Slots::default();
        let first = slots.open(Waker::noop());
        assert!(slots.lone());
        slots.open(Waker::noop());
        assert!(!slots.lone());
        slots.close(first);
        assert!(slots.lone());
    }
}
