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
    let age_max = jittered_age(link);
    let born = clock::now();
    // Progress: each turn sleeps until the next thing is due, or something changes.
    loop {
        let now = clock::now();
        let mut wakers = Vec::new();
        let next = {
            let mut guard = link.lock();
            let state = &mut *guard;
            expire(state, now, &mut wakers);
            let next = [
                deadline(state),
                Some(alive(link, state, now)?),
                Some(idle(link, state, now)?),
                (!link.dialed && !state.draining).then_some(born + age_max),
            ];
            let next = next.into_iter().flatten().min().unwrap_or(now + age_max);
            state.next_look = next;
            next
        };
        wakers.into_iter().for_each(Waker::wake);
        link.flush();
        if !link.dialed && now >= born + age_max {
            link.say_goaway();
        }
        let _due = clock::timeout_at(next, link.keeper.notified()).await;
    }
}

/// The oldest connections are closed first to let clients spread anew, not all at once.
fn jittered_age(link: &Link) -> Duration {
    let limits = &link.limits.connection;
    let percent = 100 + fastrand::u32(0..=2 * limits.age_jitter_percent);
    limits.age_max * percent.saturating_sub(limits.age_jitter_percent) / 100
}

/// Ends the calls whose deadline has passed; the server learns of it by a reset.
fn expire(state: &mut State, now: Instant, wakers: &mut Vec<Waker>) {
    let State { streams, out, .. } = state;
    for (id, stream) in streams.iter_mut() {
        if stream.deadline.is_some_and(|deadline| deadline <= now) && stream.answer.is_none() {
            stream.deadline = None;
            let error = Error::timeout("micro.client", "the deadline of the call passed");
            fail(stream, &error, now, wakers);
            frame::put(out, Kind::Reset, 0, id, &[frame::reason_byte(Reset::Deadline)]);
        }
    }
}

fn deadline(state: &mut State) -> Option<Instant> {
    state.streams.iter_mut().filter_map(|(_, stream)| stream.deadline).min()
}

/// Pings a silent peer; returns when to look again.
fn alive(link: &Link, state: &mut State, now: Instant) -> Result<Instant> {
    let limits = &link.limits.connection;
    if let Some(pinged) = state.pinged {
        let due = pinged + limits.keepalive_timeout;
        if now < due {
            return Ok(due);
        }
        let timeout = limits.keepalive_timeout;
        let detail = format!("the peer did not answer a ping within {timeout:?}");
        return Err(Error::unavailable("micro.transport", detail));
    }
    let busy = state.streams.live() > 0;
    let interval =
        if busy { limits.keepalive_interval } else { limits.keepalive_idle_interval };
    let due = state.last_read + interval;
    if now < due {
        return Ok(due);
    }
    frame::put(&mut state.out, Kind::Ping, 0, 0, &[0; PING_BYTES]);
    state.pinged = Some(now);
    Ok(now + limits.keepalive_timeout)
}

/// Ends a connection that nobody uses; returns when to look again.
fn idle(link: &Link, state: &State, now: Instant) -> Result<Instant> {
    let limits = &link.limits.connection;
    let timeout =
        if link.dialed { limits.client_idle_timeout } else { limits.server_idle_timeout };
    if state.streams.live() > 0 {
        return Ok(now + timeout);
    }
    if state.draining && link.dialed {
        return Err(Error::unavailable("micro.transport", "the connection is drained"));
    }
    let due = state.idle_since + timeout;
    if now < due {
        return Ok(due);
    }
    Err(Error::unavailable("micro.transport", format!("the connection was idle for {timeout:?}")))
}
