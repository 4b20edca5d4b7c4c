//! The settings that each side states in its first frame.

use crate::core::error::Result;
use crate::core::limits::Limits;
use crate::transport::native::names::malformed;
use crate::transport::native::varint;

/// What one side accepts. A side that has not heard from its peer assumes the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// How many streams may be open.
    pub(super) streams_max: usize,
    /// How long the payload of a frame may be.
    pub(super) frame_bytes_max: usize,
    /// How many bytes may be in flight on one stream of messages before credit is given.
    pub(super) window_bytes: usize,
    /// How long a message may be.
    pub(super) message_bytes_max: usize,
    /// How many names may be given numbers, of each kind.
    pub(super) names_max: usize,
}

const STREAMS_MAX: u64 = 1;
const FRAME_BYTES_MAX: u64 = 2;
const WINDOW_BYTES: u64 = 3;
const MESSAGE_BYTES_MAX: u64 = 4;
const NAMES_MAX: u64 = 5;

/// Stream ids have sixteen bits for the slot.
const STREAMS_CEILING: usize = 1 << 16;

impl Hello {
    /// Returns what this side accepts.
    pub(super) fn of(limits: &Limits) -> Self {
        Self {
            streams_max: limits.stream.native_max.min(STREAMS_CEILING),
            frame_bytes_max: limits.message.frame_bytes_max,
            window_bytes: limits.stream.window_bytes,
            message_bytes_max: limits.message.bytes_max,
            names_max: limits.stream.interned_names_max,
        }
    }

    /// Appends the payload of the frame.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        for (key, value) in [
            (STREAMS_MAX, self.streams_max),
            (FRAME_BYTES_MAX, self.frame_bytes_max),
            (WINDOW_BYTES, self.window_bytes),
            (MESSAGE_BYTES_MAX, self.message_bytes_max),
            (NAMES_MAX, self.names_max),
        ] {
            varint::put(out, key);
            varint::put(out, u64::try_from(value).unwrap_or(u64::MAX));
        }
    }

    /// Reads the payload of the peer's frame; unknown settings are skipped.
    ///
    /// # Errors
    /// When the payload is malformed, or a setting leaves no room for a single message.
    pub(super) fn take(mut input: &[u8], limits: &Limits) -> Result<Self> {
        let mut hello = Self::of(&Limits::DEFAULT);
        // Progress: each turn takes at least two bytes.
        while !input.is_empty() {
            let key = varint::take(&mut input).ok_or_else(malformed)?;
            let value = varint::take(&mut input).ok_or_else(malformed)?;
            let value = usize::try_from(value).unwrap_or(usize::MAX);
            match key {
                STREAMS_MAX => hello.streams_max = value.min(STREAMS_CEILING),
                FRAME_BYTES_MAX => hello.frame_bytes_max = value,
                WINDOW_BYTES => hello.window_bytes = value,
                MESSAGE_BYTES_MAX => hello.message_bytes_max = value,
                NAMES_MAX => hello.names_max = value,
                _ => {}
            }
        }
        // A peer that accepts longer frames than this side sends changes nothing.
        hello.frame_bytes_max = hello.frame_bytes_max.min(limits.message.frame_bytes_max);
        hello.message_bytes_max = hello.message_bytes_max.min(limits.message.bytes_max);
        let sound = hello.frame_bytes_max >= 1024 && hello.window_bytes > 0;
        if sound { Ok(hello) } else { Err(malformed()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_a_round_trip_and_unknown_ones_are_skipped() {
        let limits = Limits::default();
        let hello = Hello { streams_max: 7, names_max: 3, ..Hello::of(&limits) };
        let mut out = Vec::new();
        hello.put(&mut out);
        varint::put(&mut out, 99);
        varint::put(&mut out, 12_345);
        assert_eq!(Hello::take(&out, &limits).unwrap(), hello);
    }

    #[test]
    fn a_setting_that_leaves_no_room_is_refused() {
        let limits = Limits::default();
        for (key, value) in [(FRAME_BYTES_MAX, 10), (WINDOW_BYTES, 0)] {
            let mut out = Vec::new();
            varint::put(&mut out, key);
            varint::put(&mut out, value);
            assert!(Hello::take(&out, &limits).is_err());
        }
        assert!(Hello::take(&[1], &limits).is_err());
    }
}
