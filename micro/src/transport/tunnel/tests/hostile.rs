//! Peers that break every rule of sessions.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{Wire, until};
use crate::core::clock;
use crate::core::net::{Pipe, Socket};
use crate::transport::native;
use crate::transport::native::tests::lab::Fixture;
use crate::transport::tunnel::message::{End, Message, Reason, Word};
use crate::transport::tunnel::window::{WINDOW_BYTES, WINDOW_BYTES_MIN};
use crate::transport::tunnel::{Arrival, Care, Inbox};

/// A dialer that says what it likes.
struct Raw {
    inbox: Box<dyn Inbox>,
    peer: String,
    number: u64,
}

impl Raw {
    /// Opens a session with the listener.
    async fn open(wire: &Wire, window: u32) -> Self {
        let from = End::random();
        let mut inbox = wire.bus.look(&from.to_string()).await;
        let open = Message::Open { from, window }.write();
        inbox.send(name(wire), open, Care::Returned).await.unwrap();
        let Some(Message::Accept { from, .. }) = heard(inbox.as_mut()).await else { panic!() };
        Self { inbox, peer: from.to_string(), number: 0 }
    }

    async fn send(&mut self, message: Bytes) {
        self.inbox.send(&self.peer, message, Care::Lost).await.unwrap();
    }

    async fn say(&mut self, word: Word) {
        let message = Message::Numbered { number: self.number, word };
        self.number += 1;
        self.send(message.write()).await;
    }

    /// Returns why the session ends, passing over what else comes.
    async fn reset(&mut self) -> Reason {
        loop {
            match heard(self.inbox.as_mut()).await {
                Some(Message::Reset(reason)) => return reason,
                Some(Message::Numbered { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn name(wire: &Wire) -> &str {
    wire.tunnel.name_of(&wire.address).unwrap()
}

async fn heard(inbox: &mut dyn Inbox) -> Option<Message> {
    match poll_fn(|task| inbox.poll_next(task)).await.unwrap() {
        Arrival::Message(bytes) => Some(Message::read(bytes).unwrap()),
        Arrival::Returned => None,
    }
}

#[tokio::test(start_paused = true)]
async fn what_breaks_a_rule_breaks_its_session_alone() {
    let wire = Wire::open().await;
    let from = End::random();
    let numbered = |number, word| Message::Numbered { number, word }.write();
    let data = |length: usize| Word::Data(vec![7; length].into());
    let breaches = [
        Bytes::new(),
        Bytes::from_static(b"\x01"),
        Bytes::from_static(b"\x02\x06\0\0\0\0\0\0\0\0"),
        Bytes::from_static(b"\x01\x09\0\0\0\0\0\0\0\0"),
        Message::Open { from, window: WINDOW_BYTES }.write(),
        Message::Accept { from, window: WINDOW_BYTES }.write(),
        numbered(1, Word::Beat),
        numbered(u64::MAX, Word::Beat),
        numbered(0, Word::Credit { total: u64::MAX }),
        numbered(0, Word::Credit { total: 1 << 40 }),
        numbered(0, data(usize::try_from(WINDOW_BYTES).unwrap() + 1)),
        numbered(0, data(usize::try_from(WINDOW_BYTES).unwrap() * 3)),
    ];
    for breach in breaches {
        let mut raw = Raw::open(&wire, WINDOW_BYTES).await;
        let shown = breach.slice(..breach.len().min(20));
        raw.send(breach).await;
        let reason = clock::timeout(Duration::from_secs(20), raw.reset()).await;
        assert_eq!(reason, Ok(Reason::Broken), "{shown:?}");
    }
    // Data behind the end of data.
    let mut raw = Raw::open(&wire, WINDOW_BYTES).await;
    raw.say(Word::End).await;
    raw.say(data(1)).await;
    assert!(matches!(raw.reset().await, Reason::Broken | Reason::Done));
    assert_eq!(wire.lab.unary("Echo", "a").await.unwrap(), "a");
    drop(raw);
    wire.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_wish_for_a_session_is_dropped_and_harms_nobody() {
    let wire = Wire::open().await;
    let from = End::random();
    let mut inbox = wire.bus.look(&from.to_string()).await;
    for garbage in [&b""[..], b"micro", b"\x01\x01short", &[0xff; 1000]] {
        inbox.send(name(&wire), Bytes::from_static(garbage), Care::Returned).await.unwrap();
    }
    inbox.send(name(&wire), Message::Reset(Reason::Busy).write(), Care::Returned).await.unwrap();
    for window in [0, WINDOW_BYTES_MIN - 1] {
        let open = Message::Open { from, window }.write();
        inbox.send(name(&wire), open, Care::Returned).await.unwrap();
        assert_eq!(heard(inbox.as_mut()).await, Some(Message::Reset(Reason::Broken)));
    }
    assert_eq!(wire.lab.unary("Echo", "a").await.unwrap(), "a");
    drop(inbox);
    wire.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_grants_holds_a_window_of_it_and_is_given_up() {
    for window in [WINDOW_BYTES_MIN, WINDOW_BYTES, u32::MAX] {
        let wire = Wire::open().await;
        let mut raw = Raw::open(&wire, window).await;
        // Streams that together have more to say than a window holds.
        let hello = flooded(&wire).await;
        for piece in hello.chunks(1000) {
            raw.say(Word::Data(piece.to_vec().into())).await;
        }
        let (mut bytes, mut messages) = (0, 0);
        let began = clock::now();
        loop {
            match heard(raw.inbox.as_mut()).await {
                Some(Message::Numbered { word: Word::Data(data), .. }) => {
                    bytes += data.len();
                    messages += 1;
                }
                Some(Message::Numbered { .. }) => {}
                Some(Message::Reset(reason)) => {
                    assert_eq!(reason, Reason::Broken);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        let most = usize::try_from(window.min(WINDOW_BYTES)).unwrap();
        assert!(bytes <= most && messages <= 256, "{bytes} bytes in {messages} messages");
        assert!(bytes >= most / 2, "{bytes} bytes of {most}");
        assert!(clock::now() - began < Duration::from_secs(30));
        until("no handler is left", || wire.alive() == 0).await;
        drop(raw);
        wire.close().await;
    }
}

/// Returns what a native client says that begins four floods.
async fn flooded(wire: &Wire) -> Vec<u8> {
    let (ours, theirs) = Pipe::pair();
    let (server, client) = (wire.lab.server.clone(), wire.lab.client.clone());
    let connection = native::connect(Arc::new(ours), "raw".into(), &client);
    let lab = Fixture { connection, server, client, lab: Arc::clone(&wire.lab.lab) };
    let _floods: Vec<_> = (0..4).map(|_| lab.start("Flood", "", None)).collect();
    // Who queues calls writes them within some ticks.
    clock::sleep(Duration::from_millis(50)).await;
    let mut said = BytesMut::with_capacity(64 * 1024);
    Socket::try_read(&theirs, &mut said).unwrap();
    said.to_vec()
}
