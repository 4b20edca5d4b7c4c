//! HTTP/2 as RFC 9113 and RFC 7541 say it, over raw bytes: each rule that a peer may break is a
//! case with the outcome it must have. The sections are those of the list by which servers are
//! commonly checked.
//!
//! # Where the HTTP library differs
//!
//! Cases whose names end in `_deviates` hold what the library does where the RFC asks for something
//! else, so that a change of it is seen. None of them serves what must not be served.
//!
//! * [`Want::Plainly`]: the connection ends as it must, for the general reason `PROTOCOL_ERROR`
//!   instead of `COMPRESSION_ERROR`, `FRAME_SIZE_ERROR`, `FLOW_CONTROL_ERROR` or `STREAM_CLOSED`.
//! * A second head on a stream whose request is complete ends the stream as malformed.
//! * A client may send other frames before its settings, which count as the defaults until then.
//! * Pseudo fields in trailers are dropped where they should end the stream.
//!
//! What only RFC 7540 said of priorities is not held: RFC 9113 has them ignored.

mod frames;
mod hpack;
mod messages;
mod settings;
mod streams;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const PRIORITIZED: u8 = 32;

pub(super) const PROTOCOL_ERROR: u8 = 1;
pub(super) const FLOW_CONTROL_ERROR: u8 = 3;
pub(super) const STREAM_CLOSED: u8 = 5;
pub(super) const FRAME_SIZE_ERROR: u8 = 6;
pub(super) const CANCEL: u8 = 8;
pub(super) const COMPRESSION_ERROR: u8 = 9;
pub(super) const ENHANCE_YOUR_CALM: u8 = 11;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A literal field without indexing, with lengths below 127.
pub(super) fn literal(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

/// The pseudo fields of a call, with `fields` after them.
pub(super) fn head(fields: &[u8]) -> Vec<u8> {
    // `:method: POST` and `:scheme: http` by their numbers.
    let path = literal(":path", "/sample/Sample.Echo");
    [&[0x83, 0x86][..], &path, &literal(":authority", "localhost"), fields].concat()
}

/// The head of a call whose body comes after it.
pub(super) fn open(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &head(b""))
}

/// The end of a body that the sample answers.
pub(super) fn body(stream: u32) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, b"\"x\"")
}

/// A whole call.
pub(super) fn call(stream: u32) -> Vec<u8> {
    [open(stream), body(stream)].concat()
}

/// A whole call with further fields in its head.
pub(super) fn call_with(stream: u32, fields: &[u8]) -> Vec<u8> {
    [frame(HEADERS, END_HEADERS, stream, &head(fields)), body(stream)].concat()
}

/// A call whose handler waits.
pub(super) fn hang(stream: u32) -> Vec<u8> {
    let path = literal(":path", "/sample/Sample.Hang");
    let head = [&[0x83, 0x86][..], &path, &literal(":authority", "localhost")].concat();
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head)
}

pub(super) fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

pub(super) fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

pub(super) fn reset(stream: u32, reason: u8) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &[0, 0, 0, reason])
}

/// What is to come of a case.
#[derive(Clone, Copy, Debug)]
pub(super) enum Want {
    /// The connection ends for this reason.
    Goaway(u8),
    /// The connection ends for the general reason where the RFC has this one.
    Plainly(u8),
    /// The stream ends for this reason, and the connection goes on.
    Reset(u8),
    /// The stream ends with this reason, or the connection with the same one.
    Either(u8),
    /// The connection ends, with or without a reason.
    Closed,
    /// The call of stream 1 is answered by 200, and the connection goes on.
    Served,
    /// The request of stream 1 is answered by 400, and the connection goes on.
    Bad,
    /// Nothing comes of it, and the connection goes on.
    Nothing,
}

/// What the server sent.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Kind, flags, stream, payload.
    pub(super) frames: Vec<(u8, u8, u32, Vec<u8>)>,
    pub(super) closed: bool,
}

impl Heard {
    pub(super) fn goaway(&self) -> Option<u8> {
        // The first goodbye may be an announcement without a reason.
        let reasons = self.frames.iter().filter(|frame| frame.0 == GOAWAY).map(|f| f.3[7]);
        reasons.max()
    }

    pub(super) fn reset(&self, stream: u32) -> Option<u8> {
        self.frames.iter().find(|f| (f.0, f.2) == (RST_STREAM, stream)).map(|f| f.3[3])
    }

    pub(super) fn count(&self, kind: u8, flags: u8) -> usize {
        self.frames.iter().filter(|f| f.0 == kind && f.1 & flags == flags).count()
    }

    /// The status of a response, of which those here stand in the static table.
    pub(super) fn status(&self, stream: u32) -> Option<u16> {
        let head = self.frames.iter().find(|f| (f.0, f.2) == (HEADERS, stream))?;
        match head.3.iter().find(|byte| (0x88..=0x8e).contains(*byte))? {
            0x88 => Some(200),
            0x8c => Some(400),
            0x8d => Some(404),
            _ => Some(0),
        }
    }

    /// The bytes of bodies on a stream.
    pub(super) fn data(&self, stream: u32) -> usize {
        let data = self.frames.iter().filter(|f| (f.0, f.2) == (DATA, stream));
        data.map(|f| f.3.len()).sum()
    }
}

/// One connection of a peer that writes its own bytes.
pub(super) struct Talk {
    pub(super) pipe: Pipe,
    pub(super) heard: Heard,
}

impl Talk {
    /// Connects and shakes hands.
    pub(super) async fn begin(rig: &Rig) -> Self {
        let mut talk = Self { pipe: rig.dial(), heard: Heard::default() };
        talk.send(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()).await;
        talk.settle().await;
        talk.send(&frame(SETTINGS, ACK, 0, b"")).await;
        talk
    }

    /// Sends bytes; a server that has closed takes no more.
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        let sending = self.pipe.write_all(bytes);
        let _closed = clock::timeout(Duration::from_secs(60), sending).await;
    }

    /// Reads until nothing comes for a moment.
    pub(super) async fn settle(&mut self) {
        let mut head = [0; 9];
        let moment = Duration::from_millis(100);
        // Progress: each turn reads a frame.
        while let Ok(read) = clock::timeout(moment, self.pipe.read_exact(&mut head)).await {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            if read.is_err() || self.pipe.read_exact(&mut payload).await.is_err() {
                self.heard.closed = true;
                return;
            }
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            self.heard.frames.push((head[3], head[4], stream, payload));
        }
    }
}

/// Plays a case on a connection of its own: stream 1 is what it is about.
pub(super) async fn check(parts: &[Vec<u8>], want: Want) {
    let rig = Rig::plain();
    let mut talk = Talk::begin(&rig).await;
    for part in parts {
        talk.send(part).await;
        talk.settle().await;
    }
    let heard = &talk.heard;
    let (goaway, reset, status) = (heard.goaway(), heard.reset(1), heard.status(1));
    let fine = match want {
        Want::Goaway(reason) => goaway == Some(reason) && heard.closed,
        Want::Plainly(reason) => {
            assert_ne!(reason, PROTOCOL_ERROR, "that is the general reason");
            goaway == Some(PROTOCOL_ERROR) && heard.closed
        }
        Want::Reset(reason) => goaway.is_none() && reset == Some(reason) && !heard.closed,
        Want::Either(reason) => {
            (goaway == Some(reason) && heard.closed)
                || (goaway.is_none() && reset == Some(reason) && !heard.closed)
        }
        Want::Closed => heard.closed,
        Want::Served => goaway.is_none() && status == Some(200) && !heard.closed,
        Want::Bad => goaway.is_none() && status == Some(400) && !heard.closed,
        Want::Nothing => goaway.is_none() && reset.is_none() && !heard.closed,
    };
    assert!(fine, "{want:?}, but: goaway {goaway:?} reset {reset:?} status {status:?} {heard:?}");
    // Nobody else is concerned.
    assert_eq!(rig.call("Echo", "\"x\"").await.status, 200);
}

/// Makes a test of each case.
macro_rules! cases {
    ($($(#[$doc:meta])* $name:ident: [$($part:expr),* $(,)?] => $want:expr;)*) => {$(
        $(#[$doc])*
        #[tokio::test(start_paused = true)]
        async fn $name() {
            super::check(&[$($part),*], $want).await;
        }
    )*};
}
pub(super) use cases;
