//! Unsigned integers of one to ten bytes: seven bits a byte, low ones first, LEB128.

/// Appends a number.
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    // Progress: seven bits leave at each turn.
    while value >= 0x80 {
        out.push(low_bits(value) | 0x80);
        value >>= 7;
    }
    out.push(low_bits(value));
}

fn low_bits(value: u64) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}

/// Takes a number from the front; `None` when it is cut short or does not fit 64 bits.
pub(super) fn take(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Takes a length-prefixed string from the front; the length is checked before anything is read.
pub(super) fn take_str<'a>(input: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::try_from(take(input)?).ok()?;
    let (text, rest) = input.split_at_checked(length)?;
    *input = rest;
    std::str::from_utf8(text).ok()
}

/// Appends a string behind its length.
pub(super) fn put_str(out: &mut Vec<u8>, text: &str) {
    put(out, u64::try_from(text.len()).unwrap_or(u64::MAX));
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_survives_a_round_trip() {
        for bit in 0..64 {
            for value in [1_u64 << bit, (1_u64 << bit) - 1, u64::MAX >> bit] {
                let mut out = Vec::new();
                put(&mut out, value);
                let mut input = out.as_slice();
                assert_eq!(take(&mut input), Some(value));
                assert!(input.is_empty());
            }
        }
    }

    #[test]
    fn overlong_and_cut_numbers_are_refused() {
        assert_eq!(take(&mut [0x80; 11].as_slice()), None);
        assert_eq!(take(&mut [0xff, 0xff].as_slice()), None);
        let mut too_big = [0xff; 10];
        too_big[9] = 0x02;
        assert_eq!(take(&mut too_big.as_slice()), None);
    }

    #[test]
    fn a_length_beyond_the_input_is_refused() {
        let mut input = [0xff, 0xff, 0xff, 0xff, 0x0f, b'a'].as_slice();
        assert_eq!(take_str(&mut input), None);
    }
}
