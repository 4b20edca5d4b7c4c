//! Which counters a thread writes: a number that no other living thread of the process has.
//!
//! A thread that has such a number writes its counters by plain loads and stores. A number goes to
//! another thread only when its owner has ended, through a lock, so that no count is lost.

use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Threads that have a number of their own at a time; further ones share one set of counters.
pub(super) const SEATS: usize = 32;

#[derive(Debug)]
struct Seats {
    /// The number that nobody has had yet.
    next: usize,
    free: Vec<usize>,
}

static ALL: Mutex<Seats> = Mutex::new(Seats { next: 0, free: Vec::new() });

thread_local! {
    /// The number of this thread as it is read at every call.
    static NUMBER: Cell<usize> = const { Cell::new(UNKNOWN) };
    /// Gives the number back when the thread ends.
    static SEAT: Seat = Seat::take();
}

/// The number of a thread that has not asked for one.
const UNKNOWN: usize = usize::MAX;

/// The number of a thread that got none, or whose own is gone.
const NONE: usize = SEATS;

struct Seat(Option<usize>);

fn lock() -> MutexGuard<'static, Seats> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seat {
    fn take() -> Self {
        let mut all = lock();
        if let Some(free) = all.free.pop() {
            return Self(Some(free));
        }
        if all.next >= SEATS {
            return Self(None);
        }
        all.next += 1;
        Self(Some(all.next - 1))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(seat) = self.0 {
            // Whatever this thread still counts, it counts where all may.
            NUMBER.set(NONE);
            lock().free.push(seat);
        }
    }
}

/// Returns the number of this thread, below [`SEATS`]; `None` if there is none left or the thread
/// is about to end.
#[inline]
pub(super) fn seat() -> Option<usize> {
    match NUMBER.get() {
        NONE => None,
        UNKNOWN => first(),
        seat => Some(seat),
    }
}

#[cold]
fn first() -> Option<usize> {
    let seat = SEAT.try_with(|seat| seat.0).unwrap_or(None);
    NUMBER.set(seat.unwrap_or(NONE));
    seat
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::{Arc, Barrier};

    #[test]
    fn no_two_living_threads_have_one_number_and_those_of_the_dead_are_given_again() {
        for _ in 0..3 {
            let barrier = Arc::new(Barrier::new(SEATS + 8));
            let threads: Vec<_> = (0..SEATS + 8)
                .map(|_| {
                    let barrier = Arc::clone(&barrier);
                    std::thread::spawn(move || {
                        let seat = seat();
                        barrier.wait();
                        seat
                    })
                })
                .collect();
            let seats: Vec<_> = threads.into_iter().filter_map(|t| t.join().unwrap()).collect();
            let different: HashSet<_> = seats.iter().collect();
            assert_eq!(different.len(), seats.len());
            assert!(seats.iter().all(|seat| *seat < SEATS));
            assert!(!seats.is_empty(), "numbers come back");
        }
    }
}
