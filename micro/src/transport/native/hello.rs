//! The settings that each side states in its first frame.

use crate::core::error::Result;
use crate::core::limits::Limits;
use crate::transport::native::names::malformed;
use crate::transport::native::varint;

/// What one side accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// How many streams may be open.
    pub(super) streams_max: usize,
    /// How long the payload of a frame may be.
    pub(super) frame_bytes_max: usize,
    /// What the messages in flight on one stream may cost before credit is given.
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

/// Frames of this length are taken by everyone, so that a head fits into one.
pub(super) const FRAME_BYTES_LEAST: usize = 64 * 1024;

/// Everyone gives at least this window.
pub(super) const WINDOW_BYTES_LEAST: usize = 64 * 1024;

/// How many streams are opened before the peer has stated its limit; it may refuse some.
const STREAMS_UNHEARD: usize = 1024;

impl Hello {
    /// Returns what this side accepts.
    pub(super) fn of(limits: &Limits) -> Self {
        Self {
            streams_max: limits.stream.native_max.min(STREAMS_CEILING),
            frame_bytes_max: limits.message.frame_bytes_max.max(FRAME_BYTES_LEAST),
            window_bytes: limits.stream.window_bytes.max(WINDOW_BYTES_LEAST),
            message_bytes_max: limits.message.bytes_max,
            names_max: limits.stream.interned_names_max,
        }
    }

    /// Returns what every peer accepts, as far as the own limits allow to make use of it.
    pub(super) fn unheard(limits: &Limits) -> Self {
        Self {
            streams_max: STREAMS_UNHEARD,
            frame_bytes_max: FRAME_BYTES_LEAST,
            window_bytes: WINDOW_BYTES_LEAST,
            // A message that is too long for the peer costs its own stream only.
            message_bytes_max: limits.message.bytes_max,
            names_max: 0,
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
    /// When the payload is malformed, or a setting is below what everyone accepts.
    pub(super) fn take(mut input: &[u8], limits: &Limits) -> Result<Self> {
        let mut hello = Self::unheard(limits);
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
        let sound =
            hello.frame_bytes_max >= FRAME_BYTES_LEAST && hello.window_bytes >= WINDOW_BYTES_LEAST;
        if !sound {
            return Err(malformed());
        }
        // A peer that accepts more than this side sends changes nothing.
        let own = Self::of(limits);
        hello.frame_bytes_max = hello.frame_bytes_max.min(own.frame_bytes_max);
        hello.message_bytes_max = hello.message_bytes_max.min(own.message_bytes_max);
        Ok(hello)
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
    fn what_a_peer_does_not_state_stays_as_before_its_hello() {
        let limits = Limits::default();
        assert_eq!(Hello::take(&[], &limits).unwrap(), Hello::unheard(&limits));
    }

    #[test]
    fn a_setting_below_what_everyone_accepts_is_refused() {
        let limits = Limits::default();
        for key in [FRAME_BYTES_MAX, WINDOW_BYTES] {
            for (value, sound) in [(0, false), (65_535, false), (65_536, true), (u64::MAX, true)] {
                let mut out = Vec::new();
                varint::put(&mut out, key);
                varint::put(&mut out, value);
                assert_eq!(Hello::take(&out, &limits).is_ok(), sound, "{key} {value}");
            }
        }
        assert!(Hello::take(&[1], &limits).is_err());
    }

    #[test]
    fn limits_that_were_not_validated_never_state_less_than_everyone_accepts() {
        let mut limits = Limits::default();
        limits.message.frame_bytes_max = 1;
        limits.stream.window_bytes = 1;
        let mut out = Vec::new();
        Hello::of(&limits).put(&mut out);
        assert!(Hello::take(&out, &Limits::default()).is_ok());
    }
}
