//! How much may be on the way between the ends of a session.

/// Bytes of a window: 256 KiB, as much as one stream of the native protocol has on the way.
pub(super) const WINDOW_BYTES: u32 = 256 * 1024;

/// Bytes of the least window that is sent into: four messages of data.
pub(super) const WINDOW_BYTES_MIN: u32 = 4 * 1024;

/// Bytes that a message of data counts as at least: 1 KiB, so that a window holds 256 messages at
/// most, however short they are.
const COST_BYTES_MIN: u64 = 1024;

fn cost(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX).max(COST_BYTES_MIN)
}

/// The peer broke a rule.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Breach;

/// Returns the window that both ends use, which is the smaller of what each offers.
///
/// # Errors
/// When what the peer offers is too small to be of use.
pub(super) fn agreed(offered: u32) -> Result<u32, Breach> {
    if offered < WINDOW_BYTES_MIN { Err(Breach) } else { Ok(offered.min(WINDOW_BYTES)) }
}

/// What was sent, and what of it the peer has taken.
#[derive(Debug)]
pub(super) struct Outward {
    window: u64,
    sent: u64,
    taken: u64,
}

impl Outward {
    pub(super) fn new(window: u32) -> Self {
        Self { window: window.into(), sent: 0, taken: 0 }
    }

    /// Returns how long the next message of data may be; zero when there has to be credit first.
    pub(super) fn room(&self) -> usize {
        let on_the_way = self.sent.saturating_sub(self.taken);
        let room = self.window.saturating_sub(on_the_way);
        if room < COST_BYTES_MIN { 0 } else { usize::try_from(room).unwrap_or(usize::MAX) }
    }

    /// Counts a message, which is no longer than there is room.
    pub(super) fn send(&mut self, length: usize) {
        self.sent = self.sent.saturating_add(cost(length));
    }

    /// Takes the sum of what the peer has taken.
    ///
    /// # Errors
    /// When it takes credit back, or has taken what was not sent.
    pub(super) fn credit(&mut self, total: u64) -> Result<(), Breach> {
        if !(self.taken..=self.sent).contains(&total) {
            return Err(Breach);
        }
        self.taken = total;
        Ok(())
    }
}

/// What has arrived, and what of it was taken.
#[derive(Debug)]
pub(super) struct Inward {
    window: u64,
    arrived: u64,
    taken: u64,
    told: u64,
}

impl Inward {
    pub(super) fn new(window: u32) -> Self {
        Self { window: window.into(), arrived: 0, taken: 0, told: 0 }
    }

    /// Counts a message that has arrived.
    ///
    /// # Errors
    /// When the peer had no room for it.
    pub(super) fn arrive(&mut self, length: usize) -> Result<(), Breach> {
        self.arrived = self.arrived.saturating_add(cost(length));
        let waiting = self.arrived.saturating_sub(self.taken);
        if waiting > self.window { Err(Breach) } else { Ok(()) }
    }

    /// Counts a message that was taken; returns the sum that the peer is to be told, if it is time.
    ///
    /// A sender without room has more on the way than this holds back, so that it hears more.
    pub(super) fn take(&mut self, length: usize) -> Option<u64> {
        self.taken = self.taken.saturating_add(cost(length));
        if self.taken.saturating_sub(self.told) < self.window / 2 {
            return None;
        }
        self.told = self.taken;
        Some(self.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: usize = 256 * 1024;

    fn both(window: u32) -> (Outward, Inward) {
        (Outward::new(window), Inward::new(window))
    }

    #[test]
    fn a_window_is_used_whole_and_no_further() {
        for (length, messages) in [(1, 256), (1024, 256), (1025, 255), (65_536, 4)] {
            let (mut out, mut inward) = both(WINDOW_BYTES);
            let mut sent = 0;
            while out.room() >= length {
                out.send(length);
                assert_eq!(inward.arrive(length), Ok(()), "{length} {sent}");
                sent += 1;
            }
            assert_eq!(sent, messages, "{length}");
            assert_eq!(inward.arrive(WHOLE * 10), Err(Breach));
        }
        let mut inward = Inward::new(WINDOW_BYTES);
        assert_eq!(inward.arrive(WHOLE), Ok(()));
        assert_eq!(inward.arrive(1), Err(Breach), "a byte beyond the limit");
    }

    #[test]
    fn whoever_waits_for_room_hears_of_it_whatever_the_lengths() {
        let mut rng = fastrand::Rng::with_seed(7);
        for window in [WINDOW_BYTES_MIN, WINDOW_BYTES_MIN + 1, 70_000, WINDOW_BYTES] {
            let (mut out, mut inward) = both(window);
            let mut waiting = std::collections::VecDeque::new();
            for _ in 0..1000 {
                if out.room() > 0 {
                    let length = rng.usize(1..=out.room().min(65_536));
                    out.send(length);
                    inward.arrive(length).unwrap();
                    waiting.push_back(length);
                    continue;
                }
                while let Some(length) = waiting.pop_front() {
                    if let Some(total) = inward.take(length) {
                        out.credit(total).unwrap();
                    }
                }
                assert!(out.room() > 0, "the sender waits for ever");
            }
        }
    }

    #[test]
    fn credit_for_nothing_and_credit_taken_back_are_breaches() {
        let mut out = Outward::new(WINDOW_BYTES);
        out.send(5000);
        assert_eq!(out.credit(5001), Err(Breach));
        assert_eq!(out.credit(u64::MAX), Err(Breach));
        assert_eq!(out.credit(5000), Ok(()));
        assert_eq!(out.credit(4999), Err(Breach));
        assert_eq!(out.credit(5000), Ok(()));
    }

    #[test]
    fn a_window_of_no_use_is_refused_and_a_huge_one_is_not_used() {
        assert_eq!(agreed(0), Err(Breach));
        assert_eq!(agreed(WINDOW_BYTES_MIN - 1), Err(Breach));
        assert_eq!(agreed(WINDOW_BYTES_MIN), Ok(WINDOW_BYTES_MIN));
        assert_eq!(agreed(u32::MAX), Ok(WINDOW_BYTES));
    }
}
