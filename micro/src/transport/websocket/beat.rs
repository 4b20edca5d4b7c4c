//! Tells peers that are gone, or say a message for ever, from those that have nothing to say.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::limits::ConnectionLimits;
use crate::transport::websocket::wire::Heard;

/// What is to be done about a silent peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pulse {
    /// Ask it for a sign of life.
    Ask,
    /// Give it up.
    Dead,
}

/// Watches for how long a peer has been silent, and that its messages make progress: over two
/// intervals each has to be complete or to bring what a body has to.
#[derive(Debug)]
pub(crate) struct Beat {
    heard: Arc<Heard>,
    /// Bytes and whole frames when it was looked last.
    seen: (usize, usize),
    asked: bool,
    /// Whether a message came too slowly since then.
    slow: bool,
    next: Instant,
    limits: ConnectionLimits,
}

impl Beat {
    pub(super) fn new(heard: Arc<Heard>, limits: &ConnectionLimits) -> Self {
        let next = clock::after(clock::now(), limits.keepalive_interval);
        Self { heard, seen: (0, 0), asked: false, slow: false, next, limits: limits.clone() }
    }

    /// Waits until something is to be done about the peer. Cancel safe.
    pub(crate) async fn next(&mut self) -> Pulse {
        // Progress: each turn takes the time of an interval.
        loop {
            clock::sleep_until(self.next).await;
            let now = clock::now();
            let heard = &self.heard;
            let (bytes, frames) =
                (heard.bytes.load(Ordering::Relaxed), heard.frames.load(Ordering::Relaxed));
            let (before, whole) = self.seen;
            let paused = heard.paused.load(Ordering::Relaxed);
            if bytes != before || paused {
                let brought = bytes.wrapping_sub(before);
                // One that began just now has time until the next look.
                let slow = frames == whole && brought < self.limits.body_progress_bytes && !paused;
                if slow && self.slow {
                    return Pulse::Dead;
                }
                (self.seen, self.asked, self.slow) = ((bytes, frames), false, slow);
                self.next = clock::after(now, self.limits.keepalive_interval);
            } else if self.asked {
                return Pulse::Dead;
            } else {
                self.asked = true;
                self.next = clock::after(now, self.limits.keepalive_timeout);
                return Pulse::Ask;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_asked_and_then_given_up() {
        let (heard, limits) = (Arc::<Heard>::default(), ConnectionLimits::default());
        let mut beat = Beat::new(Arc::clone(&heard), &limits);
        let start = clock::now();
        assert_eq!(beat.next().await, Pulse::Ask);
        assert_eq!(clock::now() - start, limits.keepalive_interval);
        heard.bytes.fetch_add(1, Ordering::Relaxed);
        heard.frames.fetch_add(1, Ordering::Relaxed);
        assert_eq!(beat.next().await, Pulse::Ask, "it has answered, and was silent again");
        assert_eq!(beat.next().await, Pulse::Dead);
        let silent = limits.keepalive_interval * 2 + limits.keepalive_timeout * 2;
        assert_eq!(clock::now() - start, silent);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_has_to_make_progress() {
        let limits = ConnectionLimits::default();
        for (bytes, frames, passes) in [
            (limits.body_progress_bytes, 0, true),
            (limits.body_progress_bytes - 1, 0, false),
            (1, 0, false),
            (1, 1, true),
        ] {
            let heard = Arc::<Heard>::default();
            let mut beat = Beat::new(Arc::clone(&heard), &limits);
            let speaking = async {
                // Between the looks.
                clock::sleep(limits.keepalive_interval / 2).await;
                loop {
                    heard.bytes.fetch_add(bytes, Ordering::Relaxed);
                    heard.frames.fetch_add(frames, Ordering::Relaxed);
                    clock::sleep(limits.keepalive_interval).await;
                }
            };
            let watched = clock::timeout(Duration::from_secs(60), async {
                tokio::select! {
                    pulse = beat.next() => pulse,
                    () = speaking => Pulse::Ask,
                }
            });
            assert_eq!(watched.await.ok(), (!passes).then_some(Pulse::Dead), "{bytes} {frames}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_is_not_listened_to_is_not_given_up() {
        let (heard, limits) = (Arc::<Heard>::default(), ConnectionLimits::default());
        let mut beat = Beat::new(Arc::clone(&heard), &limits);
        heard.paused.store(true, Ordering::Relaxed);
        assert!(clock::timeout(Duration::from_secs(3600), beat.next()).await.is_err());
    }
}
