//! Who listens to which channel.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use crate::core::error::{Error, Result, Retry};
use crate::driver::redis::ERROR_ID;

/// Channels and patterns that one process listens to; more are a 429.
const CHANNELS_MAX: usize = 10_000;

/// What an ear is told.
#[derive(Debug)]
pub(crate) enum Told<'a> {
    /// What was published to a channel.
    Message(&'a str, &'a Bytes),
    /// Something may have been missed: the connection was made again.
    Gap,
}

/// Is told what is published, in order; must not wait.
pub(crate) type Ear = Arc<dyn Fn(&Told<'_>) + Send + Sync>;

/// A channel or a pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Channel {
    pub(super) name: String,
    pub(super) pattern: bool,
}

/// The ears of all channels.
#[derive(Default)]
pub(super) struct Ears {
    state: Mutex<State>,
    /// Rung when what should be subscribed to has changed.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct State {
    channels: BTreeMap<Channel, Entry>,
    /// Channels that the server still has and nobody listens to.
    left: Vec<Channel>,
    next: u64,
}

struct Entry {
    ears: Vec<(u64, Ear)>,
    /// Whether the server has the subscription.
    heard: watch::Sender<bool>,
    /// Whether it had it before, so that a later one follows a gap.
    again: bool,
}

/// An ear at work; dropping it ends that.
pub(crate) struct Listening {
    ears: Arc<Ears>,
    channel: Channel,
    id: u64,
}

impl Ears {
    /// Adds an ear; the other value tells when the server has the subscription.
    pub(super) fn add(
        self: &Arc<Self>,
        channel: Channel,
        ear: Ear,
    ) -> Result<(Listening, watch::Receiver<bool>)> {
        let mut state = self.lock();
        if state.channels.len() >= CHANNELS_MAX && !state.channels.contains_key(&channel) {
            let detail = format!("{CHANNELS_MAX} channels are listened to already");
            return Err(Error::too_many_requests(ERROR_ID, detail).with_retry(Retry::Safe));
        }
        state.next = state.next.wrapping_add(1);
        let id = state.next;
        let entry = state.channels.entry(channel.clone()).or_insert_with(|| Entry {
            ears: Vec::new(),
            heard: watch::Sender::new(false),
            again: false,
        });
        entry.ears.push((id, ear));
        let heard = entry.heard.subscribe();
        drop(state);
        self.changed.notify_one();
        Ok((Listening { ears: Arc::clone(self), channel, id }, heard))
    }

    /// Tells the ears of a channel what was published.
    pub(super) fn tell(&self, channel: &Channel, told: &Told<'_>) {
        let ears: Vec<Ear> = {
            let state = self.lock();
            let Some(entry) = state.channels.get(channel) else { return };
            entry.ears.iter().map(|(_, ear)| Arc::clone(ear)).collect()
        };
        // Unlocked: an ear may drop what listens.
        for ear in ears {
            ear(told);
        }
    }

    /// Returns what the server has to have and has not.
    pub(super) fn missing(&self) -> Vec<Channel> {
        let state = self.lock();
        let missing = state.channels.iter().filter(|(_, entry)| !*entry.heard.borrow());
        missing.map(|(channel, _)| channel.clone()).collect()
    }

    /// Takes what the server has and nobody listens to.
    pub(super) fn take_left(&self) -> Vec<Channel> {
        std::mem::take(&mut self.lock().left)
    }

    /// Tells whether anybody listens.
    pub(super) fn is_wanted(&self) -> bool {
        !self.lock().channels.is_empty()
    }

    /// Notes that the server has subscriptions.
    pub(super) fn confirm(&self, channels: &[Channel]) {
        let mut gaps = Vec::new();
        {
            let mut state = self.lock();
            for channel in channels {
                let Some(entry) = state.channels.get_mut(channel) else {
                    // Everybody left meanwhile.
                    state.left.push(channel.clone());
                    continue;
                };
                if std::mem::replace(&mut entry.again, true) {
                    gaps.push(channel);
                }
                entry.heard.send_replace(true);
            }
        }
        for channel in gaps {
            self.tell(channel, &Told::Gap);
        }
    }

    /// Notes that the server has no subscription.
    pub(super) fn lose(&self) {
        let mut state = self.lock();
        state.left.clear();
        for entry in state.channels.values_mut() {
            entry.heard.send_replace(false);
        }
    }

    fn leave(&self, channel: &Channel, id: u64) {
        let gone = {
            let mut state = self.lock();
            let Some(entry) = state.channels.get_mut(channel) else { return };
            let place = entry.ears.iter().position(|(ear, _)| *ear == id);
            let ear = place.map(|place| entry.ears.swap_remove(place));
            if entry.ears.is_empty() {
                if *entry.heard.borrow() {
                    state.left.push(channel.clone());
                }
                state.channels.remove(channel);
            }
            ear
        };
        // Unlocked: dropping an ear may run anything.
        drop(gone);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.ears.leave(&self.channel, self.id);
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").field("channel", &self.channel.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;

    use super::*;

    fn channel(name: &str) -> Channel {
        Channel { name: name.to_owned(), pattern: false }
    }

    #[test]
    fn an_ear_is_told_of_a_gap_only_when_a_subscription_is_made_again() {
        let (ears, gaps) = (Arc::new(Ears::default()), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&gaps);
        let ear: Ear = Arc::new(move |told| {
            counted.fetch_add(usize::from(matches!(told, Told::Gap)), SeqCst);
        });
        let (listening, heard) = ears.add(channel("a"), ear).unwrap();
        assert!(!*heard.borrow() && ears.missing() == [channel("a")]);
        ears.confirm(&[channel("a")]);
        assert!(*heard.borrow() && ears.missing().is_empty());
        assert_eq!(gaps.load(SeqCst), 0);
        ears.lose();
        assert_eq!(ears.missing(), [channel("a")]);
        ears.confirm(&[channel("a")]);
        assert_eq!(gaps.load(SeqCst), 1);
        drop(listening);
        assert_eq!(ears.take_left(), [channel("a")]);
        assert!(!ears.is_wanted());
    }

    #[test]
    fn channels_are_bounded() {
        let ears = Arc::new(Ears::default());
        let add = |n: usize| ears.add(channel(&n.to_string()), Arc::new(|_| {}));
        let mut kept: Vec<_> = (0..CHANNELS_MAX).map(|n| add(n).unwrap()).collect();
        assert_eq!(add(CHANNELS_MAX).err().map(|error| error.code()), Some(429));
        assert_eq!(add(CHANNELS_MAX * 10).err().map(|error| error.code()), Some(429));
        kept.push(add(0).unwrap());
    }
}
