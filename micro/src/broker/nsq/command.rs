//! What is sent to nsqd: a line, and for some commands a size and a body.

use std::time::Duration;

use super::frame::MessageId;

/// What a connection begins with: the version of the protocol.
pub(super) const MAGIC: &[u8] = b"  V2";
/// Takes no further messages; those that were delivered may be settled.
pub(super) const CLOSE: &[u8] = b"CLS\n";
/// Says that the client is there.
pub(super) const NOTHING: &[u8] = b"NOP\n";

/// Says who the client is, and what it asks of the connection.
pub(super) fn identify(settings: &[u8]) -> Vec<u8> {
    let mut out = b"IDENTIFY\n".to_vec();
    put_sized(&mut out, settings);
    out
}

/// Takes messages of a channel.
pub(super) fn subscribe(topic: &str, channel: &str) -> Vec<u8> {
    format!("SUB {topic} {channel}\n").into_bytes()
}

/// Asks for messages.
pub(super) fn ready(count: u32) -> Vec<u8> {
    format!("RDY {count}\n").into_bytes()
}

/// Says that a message is done.
pub(super) fn finish(id: MessageId) -> Vec<u8> {
    format!("FIN {id}\n").into_bytes()
}

/// Has a message delivered again after a pause, of whole milliseconds.
pub(super) fn requeue(id: MessageId, pause: Duration) -> Vec<u8> {
    format!("REQ {id} {}\n", pause.as_millis()).into_bytes()
}

/// Says that a message is still worked on.
pub(super) fn touch(id: MessageId) -> Vec<u8> {
    format!("TOUCH {id}\n").into_bytes()
}

/// Publishes messages of one topic: one by itself, several together.
pub(super) fn publish(out: &mut Vec<u8>, topic: &str, bodies: &[&[u8]]) {
    if let [body] = bodies {
        out.extend_from_slice(format!("PUB {topic}\n").as_bytes());
        return put_sized(out, body);
    }
    out.extend_from_slice(format!("MPUB {topic}\n").as_bytes());
    let bytes: usize = bodies.iter().map(|body| SIZE_BYTES + body.len()).sum();
    put_size(out, SIZE_BYTES + bytes);
    put_size(out, bodies.len());
    bodies.iter().for_each(|body| put_sized(out, body));
}

/// Bytes of a size.
const SIZE_BYTES: usize = 4;

fn put_sized(out: &mut Vec<u8>, body: &[u8]) {
    put_size(out, body.len());
    out.extend_from_slice(body);
}

fn put_size(out: &mut Vec<u8>, size: usize) {
    // Invariant: whatever is put here has a limit below 2 GiB.
    out.extend_from_slice(&u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::broker::nsq::frame::{Frame, take};

    fn id() -> MessageId {
        let frame = b"\0\0\0\x1e\0\0\0\x02\0\0\0\0\0\0\0\x01\0\x010123456789abcdef";
        match take(&mut BytesMut::from(&frame[..]), 0) {
            Ok(Some(Frame::Message(raw))) => raw.id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn commands_are_written_as_the_protocol_lays_them_out() {
        assert_eq!(identify(b"{}"), b"IDENTIFY\n\0\0\0\x02{}");
        assert_eq!(subscribe("a.b", "c#ephemeral"), b"SUB a.b c#ephemeral\n");
        assert_eq!(ready(100), b"RDY 100\n");
        assert_eq!(finish(id()), b"FIN 0123456789abcdef\n");
        assert_eq!(requeue(id(), Duration::from_secs(2)), b"REQ 0123456789abcdef 2000\n");
        assert_eq!(touch(id()), b"TOUCH 0123456789abcdef\n");
    }

    #[test]
    fn one_message_goes_alone_and_several_go_together() {
        let mut out = Vec::new();
        publish(&mut out, "t", &[b"hello"]);
        assert_eq!(out, b"PUB t\n\0\0\0\x05hello");
        out.clear();
        publish(&mut out, "t", &[b"a", b"bc"]);
        assert_eq!(out, b"MPUB t\n\0\0\0\x0f\0\0\0\x02\0\0\0\x01a\0\0\0\x02bc");
    }
}
