//! Writes what callers have queued for each other and left.
//!
//! A caller that queues a call lets other ready tasks queue theirs and then writes for all. It may
//! not come back to that: its future may be left unpolled while its task waits for something else.
//! Nobody's call waits longer than a few ticks for it.

use std::sync::Arc;
use std::time::Duration;

use crate::core::clock;
use crate::transport::native::link::{Link, State};

/// How long a caller is trusted to write.
const TICK: Duration = Duration::from_millis(1);

/// Watches over the callers of a connection while there are any; never ends.
pub(super) async fn watch(link: &Arc<Link>) {
    // Progress: each turn waits for callers, or for a tick in which none came.
    loop {
        link.rescuer.notified().await;
        let mut seen = None;
        // Progress: ends with the first tick in which nobody queued anything.
        loop {
            clock::sleep(TICK).await;
            let look = look(&mut link.lock(), &mut seen);
            match look {
                Look::Busy => {}
                Look::Left => link.flush(),
                Look::Quiet => break,
            }
        }
    }
}

enum Look {
    /// Callers come and write.
    Busy,
    /// The one that was to write has not for a whole tick.
    Left,
    /// Nobody came for a whole tick.
    Quiet,
}

fn look(state: &mut State, seen: &mut Option<u64>) -> Look {
    let before = seen.replace(state.schedules);
    if before != Some(state.schedules) {
        return Look::Busy;
    }
    if state.scheduled {
        return Look::Left;
    }
    state.watched = false;
    Look::Quiet
}
