//! How many messages a connection asks for, and when it has to say so again.

/// How many messages a connection asks for.
///
/// nsqd is told a number of messages. By its documents each delivery counts that number down, so
/// that it has to be told again; an nsqd that compares it with the messages it waits for takes the
/// repetition as it is.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// What nsqd was told.
    told: u32,
    /// Messages that came since.
    came: u32,
    /// Messages that are not settled.
    held: u32,
}

impl Ready {
    /// Asks for so many messages; returns what to tell nsqd, if it is to be told.
    pub(super) fn ask(&mut self, count: u32) -> Option<u32> {
        (count != self.told).then(|| self.tell(count))
    }

    /// Counts a message that came; returns how many are held.
    pub(super) fn take(&mut self) -> u32 {
        self.came = self.came.saturating_add(1);
        self.held = self.held.saturating_add(1);
        self.held
    }

    /// Counts a message that is settled; returns what to tell nsqd, if it is to be told.
    pub(super) fn settle(&mut self) -> Option<u32> {
        self.held = self.held.saturating_sub(1);
        // Three quarters have come; to tell earlier costs a command for each message.
        let is_due = self.came >= self.told - self.told / 4;
        (self.told > 0 && is_due && self.held < self.told).then(|| self.tell(self.told))
    }

    fn tell(&mut self, count: u32) -> u32 {
        (self.told, self.came) = (count, 0);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An nsqd that counts down.
    fn run(told: u32, messages: u32) -> (u32, u32) {
        let mut ready = Ready::default();
        let mut credit = ready.ask(told).unwrap();
        let (mut held, mut most, mut done) = (0, 0, 0);
        while done < messages {
            while credit > 0 {
                credit -= 1;
                held = ready.take();
                most = most.max(held);
            }
            assert!(held > 0, "nothing comes after {done}");
            held -= 1;
            done += 1;
            credit = ready.settle().unwrap_or(credit);
        }
        (most, done)
    }

    #[test]
    fn messages_come_on_and_never_twice_as_many_as_asked_for() {
        for told in [1, 2, 3, 4, 5, 8, 64, 256] {
            let (most, _) = run(told, 2_000);
            assert!(most < told * 2, "{told}: {most}");
        }
    }

    #[test]
    fn nsqd_is_told_what_changes_and_nothing_once_it_is_over() {
        let mut ready = Ready::default();
        assert_eq!((ready.ask(4), ready.ask(4), ready.ask(2)), (Some(4), None, Some(2)));
        ready.take();
        assert_eq!(ready.ask(0), Some(0));
        assert_eq!(ready.settle(), None);
    }
}
