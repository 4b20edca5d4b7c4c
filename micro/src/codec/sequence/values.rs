//! Finds the end of a MessagePack value without reading it.

/// How far one value has been followed.
///
/// Values within values are counted, not descended into: what is nested however deep takes no
/// stack here, and the guard in front of the decoder refuses it.
#[derive(Debug)]
pub(super) struct Values {
    /// Where the next value begins that is still to be followed, seen from the first byte.
    at: usize,
    /// Values that are still to be followed.
    left: u64,
}

impl Default for Values {
    fn default() -> Self {
        Self { at: 0, left: 1 }
    }
}

impl Values {
    /// Follows the value that begins with `bytes`; returns its length once it is complete.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Option<usize> {
        // Progress: each turn follows a value of at least one byte.
        while self.left > 0 {
            let (length, within) = header(bytes.get(self.at..)?)?;
            self.at = self.at.saturating_add(length);
            self.left = (self.left - 1).saturating_add(within);
        }
        (self.at <= bytes.len()).then_some(self.at)
    }

    /// Returns how long the value is at least.
    pub(super) fn length(&self) -> usize {
        self.at
    }
}

/// Returns how many bytes a value has beside the values within, and how many those are; `None`
/// when its first bytes are not there yet.
fn header(bytes: &[u8]) -> Option<(usize, u64)> {
    let marker = *bytes.first()?;
    let long = |size: usize, extra: usize| {
        number(bytes, size).map(|length| (length.saturating_add(1 + size + extra), 0))
    };
    let many = |size: usize, each: u64| {
        let count = u64::try_from(number(bytes, size)?).unwrap_or(u64::MAX);
        Some((1 + size, count.saturating_mul(each)))
    };
    match marker {
        0x80..=0x8f => Some((1, u64::from(marker & 0x0f) * 2)),
        0x90..=0x9f => Some((1, u64::from(marker & 0x0f))),
        0xa0..=0xbf => Some((1 + usize::from(marker & 0x1f), 0)),
        0xc4 | 0xd9 => long(1, 0),
        0xc5 | 0xda => long(2, 0),
        0xc6 | 0xdb => long(4, 0),
        0xc7 => long(1, 1),
        0xc8 => long(2, 1),
        0xc9 => long(4, 1),
        0xcc | 0xd0 => Some((2, 0)),
        0xcd | 0xd1 | 0xd4 => Some((3, 0)),
        0xd5 => Some((4, 0)),
        0xca | 0xce | 0xd2 => Some((5, 0)),
        0xd6 => Some((6, 0)),
        0xcb | 0xcf | 0xd3 => Some((9, 0)),
        0xd7 => Some((10, 0)),
        0xd8 => Some((18, 0)),
        0xdc => many(2, 1),
        0xdd => many(4, 1),
        0xde => many(2, 2),
        0xdf => many(4, 2),
        // Small numbers, nil, booleans, and what no encoder writes and the decoder refuses.
        _ => Some((1, 0)),
    }
}

/// Reads the big-endian number of `size` bytes behind the marker.
fn number(bytes: &[u8], size: usize) -> Option<usize> {
    let digits = bytes.get(1..=size)?;
    Some(digits.iter().fold(0, |number, digit| number << 8 | usize::from(*digit)))
}
