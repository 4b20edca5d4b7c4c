//! What is to be sent by a connection, in order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5::Packet;
use tokio::sync::Notify;

/// Bytes that are made ready to be sent at a time; one more packet may follow.
const READY_BYTES_MAX: usize = 64 * 1024;

/// Packets that wait to be sent, for as long as the connection is there; clones share them.
#[derive(Clone)]
pub(super) struct Requests(Arc<Queue>);

struct Queue {
    most: usize,
    /// `None` once the connection has ended.
    packets: Mutex<Option<VecDeque<Packet>>>,
    wake: Notify,
}

impl Requests {
    pub(super) fn new(most: usize) -> Self {
        let packets = Mutex::new(Some(VecDeque::new()));
        Self(Arc::new(Queue { most, packets, wake: Notify::new() }))
    }

    /// Adds a packet; `false` if the connection has ended or there is no room.
    pub(super) fn push(&self, packet: Packet) -> bool {
        let mut packets = self.lock();
        let Some(waiting) = packets.as_mut().filter(|packets| packets.len() < self.0.most) else {
            return false;
        };
        waiting.push_back(packet);
        drop(packets);
        self.0.wake.notify_one();
        true
    }

    /// Returns how many wait.
    pub(super) fn len(&self) -> usize {
        self.lock().as_ref().map_or(0, VecDeque::len)
    }

    /// Waits until something was added, or somebody was woken. Cancel safe.
    pub(super) async fn added(&self) {
        self.0.wake.notified().await;
    }

    /// Has the connection look again at what it may do.
    pub(super) fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Makes what waits ready to be sent; says whether the last packet is among it.
    ///
    /// # Errors
    /// Why a packet cannot be sent.
    pub(super) fn ready(&self, out: &mut BytesMut) -> Result<Sent, String> {
        let mut packets = self.lock();
        while let Some(waiting) = packets.as_mut()
            && out.len() < READY_BYTES_MAX
            && let Some(packet) = waiting.pop_front()
        {
            packet.write(out, None).map_err(|error| error.to_string())?;
            if matches!(packet, Packet::Disconnect(_)) {
                return Ok(Sent::Last);
            }
        }
        Ok(Sent::Some)
    }

    /// Takes nothing more, and returns what was not sent.
    pub(super) fn end(&self) -> VecDeque<Packet> {
        self.lock().take().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Option<VecDeque<Packet>>> {
        // Every critical section leaves the queue whole, so a poisoned lock is still sound.
        self.0.packets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was made ready to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Some,
    /// The packet after which the connection is closed.
    Last,
}

#[cfg(test)]
mod tests {
    use rumqttc::v5::mqttbytes::v5::{PingReq, PubAck};

    use super::*;

    #[test]
    fn packets_wait_within_their_limit_and_for_as_long_as_there_is_a_connection() {
        let requests = Requests::new(3);
        let taken = (0..30).filter(|_| requests.push(Packet::PingReq(PingReq))).count();
        assert_eq!((taken, requests.len()), (3, 3));
        let mut out = BytesMut::new();
        assert_eq!(requests.ready(&mut out), Ok(Sent::Some));
        assert_eq!((out.len(), requests.len()), (6, 0));
        assert!(requests.push(Packet::PubAck(PubAck::new(1, None))));
        assert_eq!(requests.end().len(), 1);
        assert!(!requests.push(Packet::PingReq(PingReq)));
    }

    #[test]
    fn what_is_made_ready_at_a_time_is_bounded() {
        let requests = Requests::new(1_000_000);
        for _ in 0..READY_BYTES_MAX {
            assert!(requests.push(Packet::PingReq(PingReq)));
        }
        let mut out = BytesMut::new();
        requests.ready(&mut out).unwrap();
        assert_eq!(out.len(), READY_BYTES_MAX);
    }
}
