//! The unit on the wire: `length u32 | kind u8 | flags u8 | stream u32`, big endian, then payload.

use crate::core::exchange::Reset;

/// The bytes of a frame before its payload.
pub(super) const HEADER_BYTES: usize = 10;

/// What a client sends first: a byte no text protocol starts with, a name, and a version.
pub(super) const PREFACE: [u8; 8] = [0x8d, b'm', b'i', b'c', b'r', b'o', 0x01, 0x00];

/// The first byte of the preface, by which a listener recognises the protocol.
pub const PREFACE_FIRST: u8 = PREFACE[0];

/// Where the major version stands in the preface; peers of another one do not understand each other.
pub(super) const PREFACE_MAJOR: usize = 6;

/// The last message of this side.
pub(super) const FLAG_END: u8 = 0x01;
/// The message goes on in the next data frame of the stream.
pub(super) const FLAG_MORE: u8 = 0x02;
/// The open frame carries a message, or its beginning.
pub(super) const FLAG_BODY: u8 = 0x04;
/// The head has an extra section.
pub(super) const FLAG_EXTRA: u8 = 0x08;
/// The end frame carries an error.
pub(super) const FLAG_ERROR: u8 = 0x10;
/// The call that failed was not run.
pub(super) const FLAG_SAFE: u8 = 0x20;

/// The call that failed would fail again, whatever its code says.
pub(super) const FLAG_FINAL: u8 = 0x40;

/// What a frame is for. Unknown kinds are skipped, so that versions can mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Settings; the first frame of each side.
    Hello,
    /// A call begins.
    Open,
    /// A message, or a part of one.
    Data,
    /// A stream of responses begins.
    Accept,
    /// This side has sent its last message; from the server, how the call ended.
    End,
    /// The stream is given up.
    Reset,
    /// Asks for a pong.
    Ping,
    /// Answers a ping.
    Pong,
    /// No more calls on this connection.
    GoAway,
    /// The reader of a stream has room for more bytes.
    Credit,
    /// Of a later version.
    Unknown,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Hello,
        Self::Open,
        Self::Data,
        Self::Accept,
        Self::End,
        Self::Reset,
        Self::Ping,
        Self::Pong,
        Self::GoAway,
        Self::Credit,
    ];

    fn from_byte(byte: u8) -> Self {
        Self::ALL.get(usize::from(byte)).copied().unwrap_or(Self::Unknown)
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Hello => 0,
            Self::Open => 1,
            Self::Data => 2,
            Self::Accept => 3,
            Self::End => 4,
            Self::Reset => 5,
            Self::Ping => 6,
            Self::Pong => 7,
            Self::GoAway => 8,
            Self::Credit => 9,
            Self::Unknown => u8::MAX,
        }
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The length of the payload.
    pub(super) length: usize,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Header {
    /// Reads the header at the front; `None` when it has not all arrived.
    pub(super) fn read(input: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_BYTES] = input.first_chunk()?;
        let [a, b, c, d, kind, flags, e, f, g, h] = *header;
        Some(Self {
            length: usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX),
            kind: Kind::from_byte(kind),
            flags,
            stream: u32::from_be_bytes([e, f, g, h]),
        })
    }

    /// Returns whether the frame is a whole message that is not the last of its stream.
    pub(super) fn is_message(self) -> bool {
        self.kind == Kind::Data && self.flags & (FLAG_END | FLAG_MORE) == 0
    }

    /// Returns whether a flag is set.
    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Begins a frame whose length is not known yet; [`finish`] fills it in.
pub(super) fn begin(out: &mut Vec<u8>, kind: Kind, flags: u8, stream: u32) -> usize {
    let start = out.len();
    let [e, f, g, h] = stream.to_be_bytes();
    out.extend_from_slice(&[0, 0, 0, 0, kind.byte(), flags, e, f, g, h]);
    start
}

/// Fills in the length of the frame that [`begin`] began at `start`.
pub(super) fn finish(out: &mut [u8], start: usize) {
    let length = out.len().saturating_sub(start + HEADER_BYTES);
    // Senders cut messages to the frame limit, which is far below 4 GiB.
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    if let Some(field) = out.get_mut(start..start + 4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

/// Replaces the flags of the frame that [`begin`] began at `start`.
pub(super) fn set_flags(out: &mut [u8], start: usize, flags: u8) {
    if let Some(field) = out.get_mut(start + 5) {
        *field = flags;
    }
}

/// Appends a whole frame.
pub(super) fn put(out: &mut Vec<u8>, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
    let start = begin(out, kind, flags, stream);
    out.extend_from_slice(payload);
    finish(out, start);
}

/// Appends a message, in as many data frames as the frame limit asks for.
pub(super) fn put_message(out: &mut Vec<u8>, flags: u8, stream: u32, body: &[u8], max: usize) {
    let mut rest = body;
    // Progress: each turn sends `max` bytes.
    while let Some((first, more)) = rest.split_at_checked(max).filter(|(_, more)| !more.is_empty())
    {
        put(out, Kind::Data, FLAG_MORE, stream, first);
        rest = more;
    }
    put(out, Kind::Data, flags, stream, rest);
}

/// Returns the byte that states a reason on the wire.
pub(super) fn reason_byte(reason: Reset) -> u8 {
    match reason {
        Reset::Cancelled => 1,
        Reset::Refused => 2,
        Reset::Draining => 3,
        Reset::Deadline => 4,
        Reset::TooLarge => 5,
        Reset::Protocol => 6,
        Reset::Internal => 7,
    }
}

/// Reads a reason; unknown ones count as an internal failure.
pub(super) fn reason_from(payload: &[u8]) -> Reset {
    match payload.first() {
        Some(1) => Reset::Cancelled,
        Some(2) => Reset::Refused,
        Some(3) => Reset::Draining,
        Some(4) => Reset::Deadline,
        Some(5) => Reset::TooLarge,
        Some(6) => Reset::Protocol,
        _ => Reset::Internal,
    }
}

/// Returns the length of the whole frames at the front of `input`.
///
/// # Errors
/// The length that a header states beyond `max`, before anything is allocated for it.
pub(super) fn whole_frames(input: &[u8], max: usize) -> Result<usize, usize> {
    let mut whole = 0;
    // Progress: each turn passes one frame.
    while let Some(header) = input.get(whole..).and_then(Header::read) {
        if header.length > max {
            return Err(header.length);
        }
        let end = whole + HEADER_BYTES + header.length;
        if end > input.len() {
            break;
        }
        whole = end;
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_the_documented_bytes() {
        let mut out = Vec::new();
        put(&mut out, Kind::Data, FLAG_END, 0x0102_0304, b"hi");
        assert_eq!(out, [0, 0, 0, 2, 2, 1, 1, 2, 3, 4, b'h', b'i']);
        let header = Header::read(&out).unwrap();
        assert_eq!((header.length, header.kind, header.stream), (2, Kind::Data, 0x0102_0304));
        assert!(header.has(FLAG_END) && !header.has(FLAG_MORE));
    }

    #[test]
    fn kinds_survive_a_round_trip_and_unknown_ones_are_unknown() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_byte(kind.byte()), kind);
        }
        assert_eq!(Kind::from_byte(10), Kind::Unknown);
    }

    #[test]
    fn a_message_is_cut_at_the_frame_limit() {
        for (length, frames) in [(0, 1), (1, 1), (4, 1), (5, 2), (8, 2), (9, 3)] {
            let mut out = Vec::new();
            put_message(&mut out, FLAG_END, 1, &vec![7; length], 4);
            let (mut count, mut bytes, mut input) = (0, 0, out.as_slice());
            while let Some(header) = Header::read(input) {
                count += 1;
                bytes += header.length;
                assert_eq!(header.has(FLAG_MORE), count < frames);
                assert_eq!(header.has(FLAG_END), count == frames);
                input = &input[HEADER_BYTES + header.length..];
            }
            assert_eq!((count, bytes), (frames, length));
        }
    }

    #[test]
    fn an_overlong_frame_is_refused_by_its_header_alone() {
        let mut out = Vec::new();
        put(&mut out, Kind::Data, 0, 1, &[0; 16]);
        assert_eq!(whole_frames(&out, 16), Ok(out.len()));
        assert_eq!(whole_frames(&out[..HEADER_BYTES], 15), Err(16));
        assert_eq!(whole_frames(&out[..out.len() - 1], 16), Ok(0));
        assert_eq!(whole_frames(&[0xff; HEADER_BYTES], 16), Err(0xffff_ffff));
    }
}
