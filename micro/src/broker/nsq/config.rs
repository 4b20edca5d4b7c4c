//! What a broker on NSQ does beside publishing to the nsqds that it is given.

use std::time::Duration;

use crate::driver::Server;

/// What a broker on NSQ does beside publishing to the nsqds that it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NsqConfig {
    /// The nsqlookupds that are asked where else the messages of a topic are: none.
    pub lookup: Option<Server>,
    /// The pause between two questions to them: 15 s, drawn a fifth shorter or longer each time.
    pub lookup_interval: Duration,
    /// Bytes of a message as NSQ carries it: 1 MiB, nsqd's `--max-msg-size`. More is a 413; one that
    /// nsqd refuses ends a connection that others publish by, too; a longer one that comes is not
    /// handled and waits. It is cut to 512 MiB.
    pub message_bytes_max: usize,
    /// What is published survives the end of every process, by the word of whoever runs the nsqds:
    /// no. It changes what the broker says of itself, not what it does.
    pub is_durable: bool,
}

impl NsqConfig {
    /// Bytes of a message as NSQ carries it, at most: sizes have to fit the protocol.
    pub(super) const MESSAGE_BYTES_MOST: usize = 1 << 29;
}

impl Default for NsqConfig {
    fn default() -> Self {
        let lookup_interval = Duration::from_secs(15);
        let message_bytes_max = 1024 * 1024;
        Self { lookup: None, lookup_interval, message_bytes_max, is_durable: false }
    }
}

impl NsqConfig {
    /// Says which nsqlookupds are asked.
    #[must_use]
    pub fn with_lookup(mut self, lookup: Server) -> Self {
        self.lookup = Some(lookup);
        self
    }

    /// Sets the pause between two questions to the nsqlookupds.
    #[must_use]
    pub fn with_lookup_interval(mut self, interval: Duration) -> Self {
        self.lookup_interval = interval;
        self
    }

    /// Says that the nsqds keep what is published, whatever ends: `--mem-queue-size=0` and
    /// `--sync-every=1`, on disks that last, and that the loss of what is with a handler, or waits
    /// for another delivery, when an nsqd crashes is accepted.
    #[must_use]
    pub fn vouched_durable(mut self) -> Self {
        self.is_durable = true;
        self
    }

    /// Sets how long a message may be.
    #[must_use]
    pub fn with_message_bytes_max(mut self, bytes: usize) -> Self {
        self.message_bytes_max = bytes;
        self
    }
}
