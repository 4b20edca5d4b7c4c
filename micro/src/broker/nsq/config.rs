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
    /// nsqd refuses ends a connection that others publish by, too. It is cut to 1 GiB.
    pub message_bytes_max: usize,
}

impl NsqConfig {
    /// Bytes of a message as NSQ carries it, at most: sizes have to fit the protocol.
    pub(super) const MESSAGE_BYTES_MOST: usize = 1 << 30;
}

impl Default for NsqConfig {
    fn default() -> Self {
        let lookup_interval = Duration::from_secs(15);
        Self { lookup: None, lookup_interval, message_bytes_max: 1024 * 1024 }
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

    /// Sets how long a message may be.
    #[must_use]
    pub fn with_message_bytes_max(mut self, bytes: usize) -> Self {
        self.message_bytes_max = bytes;
        self
    }
}
