//! What the server sends to a subscription: messages, and words about them.

use std::time::Duration;

use async_nats::{Message as Raw, Subject};

use crate::broker::memory::Flight;
use crate::broker::nats::queue::Sized;

/// A message that was fetched.
#[derive(Debug)]
pub(super) struct Pulled {
    pub(super) raw: Raw,
    pub(super) facts: Facts,
    pub(super) _flight: Flight,
}

impl Sized for Pulled {
    fn bytes(&self) -> usize {
        self.raw.length
    }
}

/// What the server knows of a message: it stands in the subject that settles it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Counts its deliveries to the group, from 1.
    pub(super) deliveries: u32,
    /// Its place in the stream.
    pub(super) sequence: u64,
    /// When the stream took it, since 1970-01-01 UTC.
    pub(super) stored: Duration,
}

impl Facts {
    /// Reads `$JS.ACK.<stream>.<consumer>.<deliveries>.<place>.<place in the consumer>.<time>.<left>`,
    /// which in later servers has the domain and the account before the stream.
    pub(super) fn read(reply: &str) -> Option<Self> {
        let mut words = reply.strip_prefix("$JS.ACK.")?.split('.');
        // Words before the deliveries: only later servers have nine or more in all.
        let before = if words.clone().nth(8).is_some() { 4 } else { 2 };
        let deliveries = words.nth(before)?.parse().ok()?;
        let sequence = words.next()?.parse().ok()?;
        let stored = Duration::from_nanos(words.nth(1)?.parse().ok()?);
        words.next()?;
        Some(Self { deliveries, sequence, stored })
    }
}

/// What came.
#[derive(Debug)]
pub(super) enum Came {
    Message(Subject, Facts),
    /// So many of those asked for do not come by this request.
    Unfilled(usize),
    /// The next message is longer than what was asked for.
    TooLong(usize),
    /// The consumer is not there.
    NoConsumer,
    /// The server does not like to be asked now.
    Refused(String),
    /// It lives.
    Nothing,
}

impl Came {
    /// Reads a message of the inbox.
    pub(super) fn read(raw: &Raw) -> Self {
        let Some(status) = raw.status else {
            let facts = raw.reply.as_ref().and_then(|reply| Some((reply, Facts::read(reply)?)));
            let message = |(reply, facts): (&Subject, Facts)| Self::Message(reply.clone(), facts);
            return facts.map_or(Self::Nothing, message);
        };
        let said = raw.description.as_deref().unwrap_or_default();
        let header = |name: &str| raw.headers.as_ref()?.get(name)?.as_str().parse().ok();
        let left: Option<usize> = header("Nats-Pending-Messages");
        match (status.as_u16(), left) {
            (503, _) => Self::NoConsumer,
            (409, _) if said.eq_ignore_ascii_case("consumer deleted") => Self::NoConsumer,
            (409, Some(left)) if said.to_ascii_lowercase().contains("maxbytes") => {
                Self::TooLong(left)
            }
            (404 | 408 | 409, Some(left)) => Self::Unfilled(left),
            (400..=409, None) => Self::Refused(format!("{status} {said}")),
            _ => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_of_a_message_are_read() {
        let stored = Duration::from_nanos(1_700_000_000_000_000_001);
        let facts = Facts { deliveries: 3, sequence: 42, stored };
        for reply in [
            "$JS.ACK.shop.mailer.3.42.7.1700000000000000001.5",
            "$JS.ACK._.hash.shop.mailer.3.42.7.1700000000000000001.5",
            "$JS.ACK.hub.hash.shop.mailer.3.42.7.1700000000000000001.5.token",
        ] {
            assert_eq!(Facts::read(reply), Some(facts), "{reply}");
        }
        for wrong in ["", "$JS.ACK.", "_INBOX.a", "$JS.ACK.s.c.x.42.7.1.5", "$JS.ACK.s.c.1.2.3"] {
            assert_eq!(Facts::read(wrong), None, "{wrong}");
        }
    }
}
