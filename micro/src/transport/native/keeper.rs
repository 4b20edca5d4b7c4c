//! Watches over a connection: deadlines of its calls, pings, idleness and age.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::core::exchange::Reset;
use crate::transport::native::frame::{self, Kind};
use crate::transport::native::inbound::PING_BYTES;
use crate::transport::native::link::{Link, State, fail};

/// Watches until the connection has no reason to stay, or the peer does not answer.
///
/// # Errors
/// Why the connection ends.
pub(super) async fn watch(link: &Arc<Link>) -> Result<()> {
    let old = clock::after(clock::now(), jittered_age(link));
    let mut age = Age { goaway: Some(old), end: None };
    // Progress: each turn sleeps until the next thing is due, or something changes.
    loop {
        let now = clock::now();
        let mut wakers = Vec::new();
        let next = {
            let mut guard = link.lock();
            let state = &mut *guard;
            expire(link, state, now, &mut wakers);
            let alive = alive(link, state, now)?;
            let idle = idle(link, state, now)?;
            let next = [deadline(state), age.look(link, now)?].into_iter().flatten();
            let next = next.fold(alive.min(idle), Instant::min);
            state.next_look = next;
            next
        };
        wakers.into_iter().for_each(Waker::wake);
        link.flush();
        if age.goaway.is_none() {
            link.say_goaway();
        }
        let _due = clock::timeout_at(next, link.keeper.notified()).await;
    }
}

/// Runs the parts of a connection until one of them ends it.
pub(super) async fn ends(
    link: &Arc<Link>,
    reading: impl Future<Output = Result<()>>,
) -> Result<()> {
    tokio::select! {
        biased;
        ended = reading => ended,
        ended = link.write_backlog() => ended,
        ended = watch(link) => ended,
        () = link.closed() => Ok(()),
    }
}

/// What the age of an accepted connection brings: first a goaway, then its end.
struct Age {
    goaway: Option<Instant>,
    end: Option<Instant>,
}

impl Age {
    /// Returns when to look again; the dialing side never ends a connection for its age.
    fn look(&mut self, link: &Link, now: Instant) -> Result<Option<Instant>> {
        if link.dialed {
            return Ok(None);
        }
        if self.goaway.is_some_and(|goaway| goaway <= now) {
            self.goaway = None;
            self.end = Some(clock::after(now, link.limits.connection.age_grace));
        }
        if self.end.is_some_and(|end| end <= now) {
            return Err(Error::unavailable("micro.transport", "the connection reached its age"));
        }
        Ok(self.goaway.or(self.end))
    }
}

/// The oldest connections are closed first to let clients spread anew, not all at once.
fn jittered_age(link: &Link) -> Duration {
    let limits = &link.limits.connection;
    let percent = 100 + fastrand::u32(0..=2 * limits.age_jitter_percent);
    limits.age_max.saturating_mul(percent.saturating_sub(limits.age_jitter_percent)) / 100
}

/// Ends the calls whose deadline has passed, and on the accepting side the requests that have not
/// all arrived in time; the peer learns of it by a reset.
fn expire(link: &Link, state: &mut State, now: Instant, wakers: &mut Vec<Waker>) {
    let State { streams, out, .. } = state;
    let mut late = Vec::new();
    for (id, stream) in streams.iter_mut() {
        if stream.deadline.is_some_and(|deadline| deadline <= now) && stream.answer.is_none() {
            stream.deadline = None;
            stream.over = true;
            let error = Error::timeout("micro.client", "the deadline of the call passed");
            fail(stream, &error, now, wakers);
            frame::put(out, Kind::Reset, 0, id, &[frame::reason_byte(Reset::Deadline)]);
            late.push(id);
        }
    }
    if !link.dialed {
        // Nobody on this side holds such a call yet.
        late.into_iter().for_each(|id| drop(streams.remove(id)));
    }
}

/// Returns the next deadline; a call that is answered has none, however long its answer lies.
fn deadline(state: &mut State) -> Option<Instant> {
    let waiting = state.streams.iter_mut().filter(|(_, stream)| stream.answer.is_none());
    waiting.filter_map(|(_, stream)| stream.deadline).min()
}

/// Pings a silent peer; returns when to look again.
fn alive(link: &Link, state: &mut State, now: Instant) -> Result<Instant> {
    let limits = &link.limits.connection;
    if let Some(pinged) = state.pinged {
        let due = clock::after(pinged, limits.keepalive_timeout);
        if now < due {
            return Ok(due);
        }
        let timeout = limits.keepalive_timeout;
        let detail = format!("the peer did not answer a ping within {timeout:?}");
        return Err(Error::unavailable("micro.transport", detail));
    }
    let busy = state.streams.live() > 0;
    let interval = if busy { limits.keepalive_interval } else { limits.keepalive_idle_interval };
    let due = clock::after(state.last_read, interval);
    if now < due {
        // A stream may open meanwhile, and its silence counts from here on.
        return Ok(due.min(clock::after(now, limits.keepalive_interval)));
    }
    frame::put(&mut state.out, Kind::Ping, 0, 0, &[0; PING_BYTES]);
    state.pinged = Some(now);
    Ok(clock::after(now, limits.keepalive_timeout))
}

/// Ends a connection that nobody uses; returns when to look again.
fn idle(link: &Link, state: &State, now: Instant) -> Result<Instant> {
    let limits = &link.limits.connection;
    let timeout = if link.dialed { limits.client_idle_timeout } else { limits.server_idle_timeout };
    if state.streams.live() > 0 {
        return Ok(clock::after(now, timeout));
    }
    if state.draining && link.dialed {
        return Err(Error::unavailable("micro.transport", "the connection is drained"));
    }
    let due = clock::after(state.idle_since, timeout);
    if now < due {
        return Ok(due);
    }
    Err(Error::unavailable("micro.transport", format!("the connection was idle for {timeout:?}")))
}
