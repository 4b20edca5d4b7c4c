//! The head of a call, as it stands at the front of an open frame.

use std::time::Duration;

use tokio::time::Instant;

use crate::core::content_type::ContentType;
use crate::core::error::{Error, Result};
use crate::core::exchange::{Dispatch, Extra, Head, Target};
use crate::core::limits::{
    METADATA_BYTES_MAX, METADATA_CLOSE_FACTOR, METADATA_ENTRIES_MAX, METADATA_VALUE_BYTES_MAX,
    StreamLimits,
};
use crate::core::metadata::Metadata;
use crate::core::trace::Trace;
use crate::transport::native::names::{NAME_BYTES_MAX, NamesIn, NamesOut, malformed, take_name};
use crate::transport::native::varint;

/// The names of an extra section that this version knows.
const EXTRA_TRACE: u8 = 0x01;

/// Checks that the peer takes the names of a head; its maps are bounded by their type, so that a
/// head always fits a frame.
///
/// # Errors
/// 400 when a name is too long.
pub(super) fn check(head: &Head<'_>) -> Result<()> {
    let fits = |name: &str| name.len() <= NAME_BYTES_MAX;
    let route = &head.route;
    if fits(route.service()) && fits(route.endpoint()) && fits(head.content_type.as_str()) {
        return Ok(());
    }
    let detail =
        format!("a service, endpoint or content type is longer than {NAME_BYTES_MAX} bytes");
    Err(Error::bad_request("micro.transport", detail))
}

/// Appends the head of a call.
pub(super) fn put(out: &mut Vec<u8>, head: &Head<'_>, names: &mut NamesOut, names_max: usize) {
    names.put_route(out, head.route, names_max);
    put_timeout(out, head);
    put_content_type(out, &head.content_type);
    if let Some(extra) = &head.extra {
        put_extra(out, extra, names, names_max);
    }
}

/// The deadline travels as the time left, so that the clocks of two machines need not agree.
fn put_timeout(out: &mut Vec<u8>, head: &Head<'_>) {
    let left = head.deadline.map(|deadline| deadline.saturating_duration_since(head.now));
    let micros = left.map_or(0, |left| u64::try_from(left.as_micros()).map_or(u64::MAX, |m| m + 1));
    varint::put(out, micros);
}

fn put_content_type(out: &mut Vec<u8>, content_type: &ContentType) {
    match content_type {
        ContentType::MsgPack => out.push(1),
        ContentType::Json => out.push(2),
        ContentType::Proto => out.push(3),
        ContentType::Bytes => out.push(4),
        ContentType::Text => out.push(5),
        ContentType::Other(name) => {
            out.push(0);
            varint::put_str(out, name);
        }
    }
}

fn put_extra(out: &mut Vec<u8>, extra: &Extra, names: &mut NamesOut, names_max: usize) {
    let mut section = Vec::new();
    match extra.trace {
        None => section.push(0),
        Some(trace) => {
            section.push(EXTRA_TRACE);
            section.extend_from_slice(&trace.trace_id().to_be_bytes());
            section.extend_from_slice(&trace.span_id().to_be_bytes());
            section.push(trace.flags());
        }
    }
    for map in [&extra.metadata, &extra.persistent, &extra.headers] {
        varint::put(&mut section, u64::try_from(map.len()).unwrap_or(u64::MAX));
        for (key, value) in map.iter() {
            names.put_key(&mut section, key, names_max);
            varint::put_str(&mut section, value);
        }
    }
    varint::put(out, u64::try_from(section.len()).unwrap_or(u64::MAX));
    out.extend_from_slice(&section);
}

/// A head as the server reads it.
#[derive(Debug)]
pub(super) struct Opened {
    /// The endpoint, or why there is none.
    pub(super) target: Result<Target>,
    pub(super) deadline: Option<Instant>,
    pub(super) content_type: ContentType,
    /// The extra section, or why it is not allowed.
    pub(super) extra: Result<Option<Box<Extra>>>,
}

/// Takes the head of a call from the front of `input`, which is left at the body.
///
/// # Errors
/// When the peer does not keep to the protocol; the connection cannot go on, since its tables
/// may no longer agree with the peer's.
pub(super) fn take(
    input: &mut &[u8],
    extra: bool,
    now: Instant,
    names: &mut NamesIn,
    reading: &Reading<'_>,
) -> Result<Opened> {
    let target = names.take_route(input, reading.dispatch, reading.limits.interned_names_max)?;
    let deadline = match varint::take(input).ok_or_else(malformed)? {
        0 => None,
        micros => now.checked_add(Duration::from_micros(micros - 1).min(reading.timeout_max)),
    };
    let content_type = take_content_type(input)?;
    let extra = match extra {
        false => Ok(None),
        true => take_extra(input, names, reading.limits.interned_names_max)?.map(Some),
    };
    Ok(Opened { target, deadline, content_type, extra })
}

/// What reading a head needs to know.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) dispatch: &'a dyn Dispatch,
    pub(super) limits: &'a StreamLimits,
    /// Longer deadlines are shortened to this.
    pub(super) timeout_max: Duration,
}

fn take_content_type(input: &mut &[u8]) -> Result<ContentType> {
    let (&code, rest) = input.split_first().ok_or_else(malformed)?;
    *input = rest;
    Ok(match code {
        1 => ContentType::MsgPack,
        2 => ContentType::Json,
        3 => ContentType::Proto,
        4 => ContentType::Bytes,
        5 => ContentType::Text,
        0 => ContentType::parse(take_name(input)?),
        // A later version's code: a name that no codec has, so that the answer is 415.
        code => ContentType::Other(format!("micro/{code}").into()),
    })
}

/// Takes the extra section; what follows the parts this version knows is skipped.
fn take_extra(
    input: &mut &[u8],
    names: &mut NamesIn,
    names_max: usize,
) -> Result<Result<Box<Extra>>> {
    let length = varint::take(input).and_then(|n| usize::try_from(n).ok()).ok_or_else(malformed)?;
    let (mut section, rest) = input.split_at_checked(length).ok_or_else(malformed)?;
    *input = rest;
    let section = &mut section;
    let (&parts, rest) = section.split_first().ok_or_else(malformed)?;
    *section = rest;
    let trace = if parts & EXTRA_TRACE == 0 { None } else { take_trace(section)? };
    let mut refused = None;
    let mut maps = [const { Metadata::new() }; 3];
    for map in &mut maps {
        take_map(section, map, (&mut *names, names_max), &mut refused)?;
    }
    let [metadata, persistent, headers] = maps;
    let extra = Extra { metadata, persistent, headers, trace };
    Ok(refused.map_or_else(|| Ok(Box::new(extra)), Err))
}

/// Takes a map to its end even when an entry is refused, so that the tables stay in step.
///
/// A map far beyond the limits is no mistake: it ends the connection.
fn take_map(
    section: &mut &[u8],
    map: &mut Metadata,
    (names, names_max): (&mut NamesIn, usize),
    refused: &mut Option<Error>,
) -> Result<()> {
    let far = |value: usize, limit: usize| value > limit.saturating_mul(METADATA_CLOSE_FACTOR);
    let (mut entries, mut bytes) = (0, 0);
    // Progress: each entry takes at least two bytes of the section.
    for _ in 0..varint::take(section).ok_or_else(malformed)? {
        let key = names.take_key(section, names_max)?;
        let value = varint::take_str(section).ok_or_else(malformed)?;
        (entries, bytes) = (entries + 1, bytes + key.len() + value.len());
        if far(entries, METADATA_ENTRIES_MAX)
            || far(bytes, METADATA_BYTES_MAX)
            || far(value.len(), METADATA_VALUE_BYTES_MAX)
        {
            return Err(malformed());
        }
        if refused.is_none() {
            *refused = map.insert(&*key, value).err();
        }
    }
    Ok(())
}

fn take_trace(section: &mut &[u8]) -> Result<Option<Trace>> {
    let (trace, rest) = section.split_first_chunk::<16>().ok_or_else(malformed)?;
    let (span, rest) = rest.split_first_chunk::<8>().ok_or_else(malformed)?;
    let (&flags, rest) = rest.split_first().ok_or_else(malformed)?;
    *section = rest;
    Ok(Trace::from_parts(u128::from_be_bytes(*trace), u64::from_be_bytes(*span), flags))
}
