//! MSGPACK-RPC: `[0, id, method, [message]]` and `[1, id, error, message]`.
//!
//! Read are also a parameter outside of a list and ids that are text. The message is cut out of its
//! envelope without being decoded.

use bytes::Bytes;

use crate::codec::envelope::{Id, Label, Way, malformed};
use crate::core::error::{Error, Result};

const NAME: &str = "MSGPACK-RPC";

const REQUEST: u8 = 0;
const RESPONSE: u8 = 1;
const NIL: u8 = 0xc0;
const LIST_OF_FOUR: u8 = 0x94;
const LIST_OF_ONE: u8 = 0x91;
const EMPTY_LIST: u8 = 0x90;

pub(super) fn seal(way: Way, label: &Label, body: &[u8], out: &mut Vec<u8>) -> Result<()> {
    out.push(LIST_OF_FOUR);
    match way {
        Way::Request => {
            out.push(REQUEST);
            id(&label.id, out)?;
            text(&label.endpoint, out)?;
            out.push(if body.is_empty() { EMPTY_LIST } else { LIST_OF_ONE });
            out.extend_from_slice(body);
        }
        Way::Response => {
            out.push(RESPONSE);
            id(&label.id, out)?;
            match &label.error {
                Some(error) => {
                    text(error, out)?;
                    out.push(NIL);
                }
                None => {
                    out.push(NIL);
                    out.extend_from_slice(if body.is_empty() { &[NIL] } else { body });
                }
            }
        }
    }
    Ok(())
}

/// Writes an id: a number where it reads as one.
fn id(id: &Id, out: &mut Vec<u8>) -> Result<()> {
    let number = match id {
        Id::None => 0,
        Id::Number(number) => *number,
        Id::Text(given) => match given.parse() {
            Ok(number) => number,
            Err(_not_a_number) => return text(given, out),
        },
    };
    match (u8::try_from(number), u32::try_from(number)) {
        (Ok(small @ 0..=0x7f), _) => out.push(small),
        (_, Ok(middle)) => {
            out.push(0xce);
            out.extend_from_slice(&middle.to_be_bytes());
        }
        _ => {
            out.push(0xcf);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
    Ok(())
}

fn text(text: &str, out: &mut Vec<u8>) -> Result<()> {
    match u8::try_from(text.len()) {
        Ok(short @ 0..=31) => out.push(0xa0 | short),
        _ => {
            let length = u32::try_from(text.len()).map_err(|error| {
                Error::internal("micro.codec", "a text is too long").with_source(error)
            })?;
            out.push(0xdb);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

pub(super) fn open(way: Way, bytes: &Bytes) -> Result<(Label, Bytes)> {
    let broken = || malformed(NAME, "is not a list of four");
    let (first, kind, mut rest) = match &**bytes {
        [first, kind, rest @ ..] => (*first, *kind, rest),
        _ => return Err(broken()),
    };
    let expected = if way == Way::Request { REQUEST } else { RESPONSE };
    if first != LIST_OF_FOUR || kind != expected {
        return Err(broken());
    }
    let id = read_id(take(&mut rest).ok_or_else(broken)?).ok_or_else(broken)?;
    let third = take(&mut rest).ok_or_else(broken)?;
    let fourth = take(&mut rest).ok_or_else(broken)?;
    if !rest.is_empty() {
        return Err(malformed(NAME, "is followed by more bytes"));
    }
    let (mut label, message) = match way {
        Way::Request => {
            let endpoint = read_text(third).ok_or_else(|| malformed(NAME, "names no method"))?;
            (Label::new(endpoint, id), parameter(fourth)?)
        }
        Way::Response => {
            let mut label = Label::new("", id);
            if third != [NIL] {
                let error = read_text(third).unwrap_or("the error is no text");
                label.error = Some(error.to_owned()).filter(|text| !text.is_empty());
            }
            (label, fourth)
        }
    };
    label.endpoint.shrink_to_fit();
    let message = if message == [NIL] { &[] } else { message };
    Ok((label, bytes.slice_ref(message)))
}

/// Takes the one parameter out of its list.
fn parameter(params: &[u8]) -> Result<&[u8]> {
    match params {
        [EMPTY_LIST] => Ok(&[]),
        [LIST_OF_ONE, only @ ..] => Ok(only),
        [0x92..=0x9f | 0xdc | 0xdd, ..] => Err(malformed(NAME, "has more than one parameter")),
        bare => Ok(bare),
    }
}

fn read_id(value: &[u8]) -> Option<Id> {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |all, byte| (all << 8) | u64::from(*byte));
    match value {
        [NIL] => Some(Id::None),
        [small @ 0..=0x7f] => Some(Id::Number(u64::from(*small))),
        [0xcc..=0xcf, bytes @ ..] => Some(Id::Number(number(bytes))),
        // Signed ones that are not negative.
        [0xd0..=0xd3, bytes @ ..] if bytes.first().is_some_and(|byte| *byte < 0x80) => {
            Some(Id::Number(number(bytes)))
        }
        other => read_text(other).map(|text| Id::Text(text.to_owned())),
    }
}

fn read_text(value: &[u8]) -> Option<&str> {
    let text = match value {
        [0xa0..=0xbf, text @ ..] => text,
        [0xd9 | 0xc4, _, text @ ..] => text,
        [0xda | 0xc5, _, _, text @ ..] => text,
        [0xdb | 0xc6, _, _, _, _, text @ ..] => text,
        _ => return None,
    };
    std::str::from_utf8(text).ok()
}

/// Takes one value, without looking at what is in it.
fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (value, after) = rest.split_at_checked(value_bytes(rest)?)?;
    *rest = after;
    Some(value)
}

/// Returns the length of the first value; `None` when it is not all there.
fn value_bytes(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut pending) = (0_usize, 1_u64);
    // Progress: each turn takes at least the byte that tells the kind of a value.
    while pending > 0 {
        let kind = *bytes.get(at)?;
        let after = bytes.get(at + 1..)?;
        let announced = |width: usize| {
            let length = after.get(..width)?;
            Some(length.iter().fold(0, |all, byte| (all << 8) | u64::from(*byte)))
        };
        let fixed = |bytes: u64| Some((bytes, 0_u64));
        let lengthy = |width: usize, extra: u64| {
            Some((announced(width)? + u64::try_from(width).ok()? + extra, 0))
        };
        let many = |width: usize, each: u64| {
            Some((u64::try_from(width).ok()?, announced(width)?.checked_mul(each)?))
        };
        let (skip, inner) = match kind {
            0..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => fixed(0),
            0x80..=0x8f => Some((0, u64::from(kind & 0x0f) * 2)),
            0x90..=0x9f => Some((0, u64::from(kind & 0x0f))),
            0xa0..=0xbf => fixed(u64::from(kind & 0x1f)),
            0xc4 | 0xd9 => lengthy(1, 0),
            0xc5 | 0xda => lengthy(2, 0),
            0xc6 | 0xdb => lengthy(4, 0),
            0xc7 => lengthy(1, 1),
            0xc8 => lengthy(2, 1),
            0xc9 => lengthy(4, 1),
            0xcc | 0xd0 => fixed(1),
            0xcd | 0xd1 | 0xd4 => fixed(2),
            0xce | 0xd2 | 0xca => fixed(4),
            0xcf | 0xd3 | 0xcb => fixed(8),
            0xd5 => fixed(3),
            0xd6 => fixed(5),
            0xd7 => fixed(9),
            0xd8 => fixed(17),
            0xdc => many(2, 1),
            0xdd => many(4, 1),
            0xde => many(2, 2),
            0xdf => many(4, 2),
            0xc1 => None,
        }?;
        at = at.checked_add(1)?.checked_add(usize::try_from(skip).ok()?)?;
        if at > bytes.len() {
            return None;
        }
        pending = (pending - 1).checked_add(inner)?;
    }
    Some(at)
}
