//! BSON-RPC: a header document and the document of the message, in a row.
//!
//! The header has `servicemethod`, `seq` and, in a response that failed, `error`. It is read and
//! written here, so that the envelope needs no library for BSON.

use bytes::Bytes;

use crate::codec::envelope::{Id, Label, Way, malformed};
use crate::core::error::{Error, Result};

const NAME: &str = "BSON-RPC";

const ENDPOINT: &str = "servicemethod";
const SEQUENCE: &str = "seq";
const ERROR: &str = "error";

/// The shortest document: its length and its end.
const DOCUMENT_BYTES_MIN: usize = 5;

/// Types of BSON.
const DOUBLE: u8 = 0x01;
const TEXT: u8 = 0x02;
const BOOLEAN: u8 = 0x08;
const NULL: u8 = 0x0a;
const INT32: u8 = 0x10;
const INT64: u8 = 0x12;

pub(super) fn seal(way: Way, label: &Label, body: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let mut fields = Vec::new();
    let endpoint = if way == Way::Request { label.endpoint.as_str() } else { "" };
    text(ENDPOINT, endpoint, &mut fields)?;
    name(INT64, SEQUENCE, &mut fields);
    fields.extend_from_slice(&label.id.number().to_le_bytes());
    if way == Way::Response {
        text(ERROR, label.error.as_deref().unwrap_or_default(), &mut fields)?;
    }
    out.extend_from_slice(&size(fields.len() + DOCUMENT_BYTES_MIN)?);
    out.extend_from_slice(&fields);
    out.push(0);
    out.extend_from_slice(body);
    Ok(())
}

fn name(kind: u8, name: &str, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(name.as_bytes());
    out.push(0);
}

fn text(field: &str, text: &str, out: &mut Vec<u8>) -> Result<()> {
    name(TEXT, field, out);
    out.extend_from_slice(&size(text.len() + 1)?);
    out.extend_from_slice(text.as_bytes());
    out.push(0);
    Ok(())
}

fn size(bytes: usize) -> Result<[u8; 4]> {
    i32::try_from(bytes).map(i32::to_le_bytes).map_err(|error| {
        Error::internal("micro.codec", "a BSON-RPC header is too long").with_source(error)
    })
}

pub(super) fn open(bytes: &Bytes) -> Result<(Label, Bytes)> {
    let broken = || malformed(NAME, "does not begin with a document");
    let mut rest: &[u8] = bytes;
    let length = take_size(&mut rest).ok_or_else(broken)?;
    if length < DOCUMENT_BYTES_MIN || length > bytes.len() {
        return Err(broken());
    }
    let header = bytes.get(4..length - 1).ok_or_else(broken)?;
    let label = label(header).ok_or_else(|| malformed(NAME, "has a header it cannot have"))?;
    Ok((label, bytes.slice(length..)))
}

fn label(mut rest: &[u8]) -> Option<Label> {
    let mut label = Label::default();
    // Progress: each turn takes at least the byte of a type.
    while let Some((kind, after)) = rest.split_first() {
        rest = after;
        let end = rest.iter().position(|byte| *byte == 0)?;
        let name = std::str::from_utf8(take(&mut rest, end)?).ok()?;
        let _end = take(&mut rest, 1)?;
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match *kind {
            TEXT => {
                let length = take_size(&mut rest)?.checked_sub(1)?;
                let text = std::str::from_utf8(take(&mut rest, length)?).ok()?.to_owned();
                let _end = take(&mut rest, 1)?;
                if is(ENDPOINT) {
                    label.endpoint = text;
                } else if is(ERROR) {
                    label.error = Some(text).filter(|text| !text.is_empty());
                } else if is(SEQUENCE) {
                    label.id = Id::Text(text);
                }
            }
            INT32 => {
                let number = i32::from_le_bytes(*take(&mut rest, 4)?.first_chunk()?);
                if is(SEQUENCE) {
                    label.id = Id::Number(u64::try_from(number).ok()?);
                }
            }
            INT64 => {
                let number = u64::from_le_bytes(*take(&mut rest, 8)?.first_chunk()?);
                if is(SEQUENCE) {
                    label.id = Id::Number(number);
                }
            }
            DOUBLE => drop(take(&mut rest, 8)?),
            BOOLEAN => drop(take(&mut rest, 1)?),
            NULL => {}
            _ => return None,
        }
    }
    Some(label)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn take_size(rest: &mut &[u8]) -> Option<usize> {
    usize::try_from(i32::from_le_bytes(*take(rest, 4)?.first_chunk()?)).ok()
}
