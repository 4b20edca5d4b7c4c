//! PROTO-RPC: a header message and the message, each behind its length.
//!
//! The header has the endpoint (field 1), the number (field 2, fixed) and the error (field 3). It is
//! read and written here, so that the envelope needs no library for Protocol Buffers.

use bytes::Bytes;

use crate::codec::envelope::{Id, Label, Way, length, malformed, part};
use crate::core::error::{Error, Result};

const NAME: &str = "PROTO-RPC";

const ENDPOINT: u64 = 1;
const SEQUENCE: u64 = 2;
const ERROR: u64 = 3;

/// Wire types of Protocol Buffers.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const DELIMITED: u64 = 2;
const FIXED32: u64 = 5;

pub(super) fn seal(way: Way, label: &Label, body: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let mut header = Vec::new();
    if way == Way::Request {
        text(ENDPOINT, &label.endpoint, &mut header);
    }
    let sequence = label.id.number();
    if sequence != 0 {
        tag(SEQUENCE, FIXED64, &mut header);
        header.extend_from_slice(&sequence.to_le_bytes());
    }
    text(ERROR, label.error.as_deref().unwrap_or_default(), &mut header);
    length(header.len(), out)?;
    out.extend_from_slice(&header);
    length(body.len(), out)?;
    out.extend_from_slice(body);
    Ok(())
}

/// Writes a field of text; an empty one is left out, as the language says.
fn text(field: u64, text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() {
        tag(field, DELIMITED, out);
        varint(u64::try_from(text.len()).unwrap_or(u64::MAX), out);
        out.extend_from_slice(text.as_bytes());
    }
}

fn tag(field: u64, kind: u64, out: &mut Vec<u8>) {
    varint((field << 3) | kind, out);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    // Progress: each turn takes seven bits.
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

pub(super) fn open(bytes: &Bytes) -> Result<(Label, Bytes)> {
    let short = || malformed(NAME, "is shorter than it says");
    let mut rest = bytes.clone();
    let header = part(&mut rest).ok_or_else(short)?;
    let message = part(&mut rest).ok_or_else(short)?;
    if !rest.is_empty() {
        return Err(malformed(NAME, "is followed by more bytes"));
    }
    Ok((label(&header)?, message))
}

fn label(header: &[u8]) -> Result<Label> {
    let broken = || malformed(NAME, "has a header that is no message");
    let mut label = Label::default();
    let mut rest = header;
    // Progress: each turn takes at least the byte of a tag.
    while !rest.is_empty() {
        let tag = take_varint(&mut rest).ok_or_else(broken)?;
        match (tag >> 3, tag & 7) {
            (ENDPOINT, DELIMITED) => label.endpoint = take_text(&mut rest)?,
            (ERROR, DELIMITED) => {
                let error = take_text(&mut rest)?;
                label.error = Some(error).filter(|text| !text.is_empty());
            }
            (SEQUENCE, FIXED64) => {
                let bytes = take(&mut rest, 8).and_then(<[u8]>::first_chunk).ok_or_else(broken)?;
                label.id = Id::Number(u64::from_le_bytes(*bytes));
            }
            (_, VARINT) => drop(take_varint(&mut rest).ok_or_else(broken)?),
            (_, FIXED64) => drop(take(&mut rest, 8).ok_or_else(broken)?),
            (_, FIXED32) => drop(take(&mut rest, 4).ok_or_else(broken)?),
            (_, DELIMITED) => drop(take_delimited(&mut rest).ok_or_else(broken)?),
            _ => return Err(broken()),
        }
    }
    Ok(label)
}

fn take_text(rest: &mut &[u8]) -> Result<String> {
    let bytes = take_delimited(rest).ok_or_else(|| malformed(NAME, "breaks off in a text"))?;
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|error: std::str::Utf8Error| -> Error {
        malformed(NAME, "has a text that is not UTF-8").with_source(error)
    })
}

fn take_delimited<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_varint(rest)?).ok()?;
    take(rest, length)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
