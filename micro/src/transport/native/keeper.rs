//! Watches over a connection: deadlines of its calls, pings, idleness and age.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::core::exchange::{Answer, Reset};
use crate::core::limits::ConnectionLimits;
use crate::transport::native::after::After;
use crate::transport::native::ending::fail;
use crate::transport::native::frame::{self, Kind};
use crate::transport::native::inbound::PING_BYTES;
use crate::transport::native::link::{Link, Ping, State};

/// Watches until the connection has no reason to stay, or the peer does not answer.
///
/// # Errors
/// Why the connection ends.
pub(super) async fn watch(link: &Arc<Link>) -> Result<()> {
    let old = clock::after(clock::now(), jittered_age(&link.limits.connection));
    let mut stay = Stay { goaway: Some(old), end: None };
    let mut after = After::default();
    // Progress: each turn sleeps until the next thing is due, or something changes.
    loop {
        let now = clock::now();
        let next = look(link, &mut stay, now, &mut after);
        after.run(link);
        let next = next?;
        link.flush();
        if stay.goaway.is_none() {
            link.say_goaway();
        }
        if stay.end.is_some_and(|end| end <= now) {
            let error = Error::unavailable("micro.transport", "the connection reached its age");
            link.say_end(&error);
            return Err(error);
        }
        let _due = clock::timeout_at(next, link.keeper.notified()).await;
    }
}

/// Does what is due; returns when to look again.
fn look(link: &Link, stay: &mut Stay, now: Instant, after: &mut After) -> Result<Instant> {
    let mut guard = link.lock();
    let state = &mut *guard;
    expire(link, state, now, after);
    let alive = alive(link, state, now)?;
    let idle = idle(link, state, now)?;
    let next = [deadline(state), idle, stay.look(link, idle.is_none(), now)];
    state.next_look = next.into_iter().flatten().fold(alive, Instant::min);
    Ok(state.next_look)
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

/// What age and idleness bring an accepted connection: first a goaway, then its end.
struct Stay {
    goaway: Option<Instant>,
    end: Option<Instant>,
}

impl Stay {
    /// Returns when to look again; the dialing side never ends a connection for its age.
    fn look(&mut self, link: &Link, idle: bool, now: Instant) -> Option<Instant> {
        if link.dialed {
            return None;
        }
        if self.goaway.is_some_and(|goaway| goaway <= now || idle) {
            self.goaway = None;
            self.end = Some(clock::after(now, link.limits.connection.age_grace));
        }
        self.goaway.or(self.end)
    }
}

/// The oldest connections are closed first to let clients spread anew, not all at once.
fn jittered_age(limits: &ConnectionLimits) -> Duration {
    let percent = 100 + fastrand::u32(0..=2 * limits.age_jitter_percent);
    limits.age_max.saturating_mul(percent.saturating_sub(limits.age_jitter_percent)) / 100
}

/// Ends the calls whose deadline has passed, and on the accepting side the requests that have not
/// all arrived in time; the peer learns of it by a reset.
fn expire(link: &Link, state: &mut State, now: Instant, after: &mut After) {
    let mut late = Vec::new();
    for (id, stream) in state.streams.iter_mut() {
        if stream.deadline.is_some_and(|deadline| deadline <= now) && stream.answer.is_none() {
            stream.deadline = None;
            stream.over = true;
            // It may be the deadline of one try of several, which the transport cannot know.
            let error = Error::timeout("micro.transport", "no answer within the time of the try");
            fail(stream, Answer { at: now, result: Err(error) }, after);
            late.push(id);
        }
    }
    for id in late {
        let reason = [frame::reason_byte(Reset::Deadline)];
        frame::put(&mut state.out, Kind::Reset, 0, id, &reason);
        if !link.dialed {
            // Nobody on this side holds such a call yet.
            after.streams.extend(link.release(state, id));
        }
    }
}

/// Returns the next deadline; a call that is answered has none, however long its answer lies.
fn deadline(state: &mut State) -> Option<Instant> {
    let waiting = state.streams.iter_mut().filter(|(_, stream)| stream.answer.is_none());
    waiting.filter_map(|(_, stream)| stream.deadline).min()
}

/// Pings a silent peer; returns when to look again.
///
/// A peer lives as long as anything arrives from it, or it takes what had to wait for it: a long
/// message over a slow network holds up pings and their answers.
fn alive(link: &Link, state: &mut State, now: Instant) -> Result<Instant> {
    let limits = &link.limits.connection;
    if let Some(ping) = state.pinged {
        // The peer cannot answer what the network has not taken.
        let since = if state.ping_is_written() { ping.since } else { now };
        state.pinged = Some(Ping { since, ..ping });
        let due = clock::after(since, limits.keepalive_timeout);
        if now < due {
            return Ok(due);
        }
        let timeout = limits.keepalive_timeout;
        let detail = format!("the peer did not answer a ping within {timeout:?}");
        return Err(Error::unavailable("micro.transport", detail));
    }
    let busy = state.streams.live() > 0;
    let interval = if busy { limits.keepalive_interval } else { limits.keepalive_idle_interval };
    let due = clock::after(state.last_read.max(state.last_taken), interval);
    if now < due {
        // A stream may open meanwhile, and its silence counts from here on.
        return Ok(due.min(clock::after(now, limits.keepalive_interval)));
    }
    frame::put(&mut state.out, Kind::Ping, 0, 0, &[0; PING_BYTES]);
    state.pinged = Some(Ping { since: now, sent_at: state.position() });
    Ok(clock::after(now, limits.keepalive_timeout))
}

/// Returns when a connection that nobody uses will have been idle for too long; `None` if it has.
///
/// # Errors
/// On the dialing side, which then closes.
fn idle(link: &Link, state: &State, now: Instant) -> Result<Option<Instant>> {
    let limits = &link.limits.connection;
    let timeout = if link.dialed { limits.client_idle_timeout } else { limits.server_idle_timeout };
    if state.streams.live() > 0 {
        return Ok(Some(clock::after(now, timeout)));
    }
    if state.draining && link.dialed {
        return Err(Error::unavailable("micro.transport", "the connection is drained"));
    }
    let due = clock::after(state.idle_since, timeout);
    if now < due || !link.dialed {
        return Ok((now < due).then_some(due));
    }
    Err(Error::unavailable("micro.transport", format!("the connection was idle for {timeout:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::limits::Limits;

    /// Without jitter, with the default, and with the most there may be.
    #[test]
    fn l15_ages_spread_as_far_as_the_jitter_and_no_further() {
        fastrand::seed(15);
        for percent in [0, 10, 100] {
            let mut limits = Limits::DEFAULT.connection;
            limits.age_jitter_percent = percent;
            let ages: Vec<_> = (0..10_000).map(|_| jittered_age(&limits)).collect();
            let share = limits.age_max / 100;
            let (least, most) = (share * (100 - percent), share * (100 + percent));
            let found = (ages.iter().min(), ages.iter().max());
            assert_eq!(found, (Some(&least), Some(&most)), "{percent}");
        }
    }
}
