//! The claims on what a hostile peer sends.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::thread;

use serde::de::DeserializeOwned;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::codec::Format;
use crate::core::limits::DECODE_DEPTH_MAX;
use crate::testkit::codec::Verdict;
use crate::testkit::codec::claims::full;
use crate::testkit::codec::decode;
use crate::testkit::codec::encode;
use crate::testkit::codec::encoded;
use crate::testkit::codec::ensure;
use crate::testkit::codec::shapes::After;
use crate::testkit::codec::shapes::Blob;
use crate::testkit::codec::shapes::Event;
use crate::testkit::codec::shapes::Nest;

/// Messages made up for the claim on hostile bytes; a hundred thousand find no more.
const MESSAGES: usize = 2_000;

/// Address space that decoding a few bytes may take, and what threads of other tests take
/// meanwhile. What a length claims is four times as much.
const ALLOCATED_KIB_MAX: u64 = 1024 * 1024;

/// One examination must not be blamed for what another allocates.
static MEASURING: Mutex<()> = Mutex::new(());

/// Stack of a worker of the runtime.
const STACK_BYTES: usize = 2 * 1024 * 1024;

/// Levels no decoder survives that recurses once for each.
const ABYSS: usize = 4_000;

pub(super) fn a_message_cut_short_is_refused(format: &Format) -> Verdict {
    let whole = encoded(format, &full())?;
    for end in 0..whole.len() {
        let cut = whole.get(..end).unwrap_or_default();
        match decode::<After>(format, cut) {
            Ok(_) => return Err(format!("{end} of {} bytes are taken for all", whole.len())),
            Err(error) => bad_request(&error)?,
        }
    }
    Ok(())
}

pub(super) fn what_follows_a_message_is_refused(format: &Format) -> Verdict {
    let whole = encoded(format, &full())?;
    for tail in [whole.as_slice(), b"\0", b"\x01", b"x", b"\xff"] {
        let done = decode::<After>(format, &[&whole, tail].concat());
        ensure(done.is_err(), || format!("{} more bytes are passed over", tail.len()))?;
    }
    Ok(())
}

pub(super) fn hostile_bytes_are_a_value_or_a_bad_request(format: &Format) -> Verdict {
    let mut random = fastrand::Rng::with_seed(7);
    let whole = encoded(format, &full())?;
    for _ in 0..MESSAGES {
        let noise: Vec<u8> = (0..random.usize(0..64)).map(|_| random.u8(..)).collect();
        examine(format, &noise)?;
        let mut bent = whole.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(0..bent.len());
            if let Some(byte) = bent.get_mut(at) {
                *byte = random.u8(..);
            }
        }
        examine(format, &bent)?;
    }
    Ok(())
}

/// Decodes bytes as types of every kind.
fn examine(format: &Format, bytes: &[u8]) -> Verdict {
    let decoders = [
        refusal::<After>,
        refusal::<Value>,
        refusal::<IgnoredAny>,
        refusal::<Vec<()>>,
        refusal::<Vec<Option<String>>>,
        refusal::<BTreeMap<String, u64>>,
        refusal::<Event>,
        refusal::<Blob>,
        refusal::<(i8, f32, char)>,
    ];
    decoders.into_iter().try_for_each(|decode| decode(format, bytes))
}

fn refusal<T: DeserializeOwned + 'static>(format: &Format, bytes: &[u8]) -> Verdict {
    decode::<T>(format, bytes).err().map_or(Ok(()), |error| bad_request(&error))
}

fn bad_request(error: &crate::core::error::Error) -> Verdict {
    ensure(error.code() == 400, || format!("bad bytes are a {}: {error}", error.code()))
}

/// Writes large numbers wherever a length might be. Seen only where the system tells how much
/// address space the process has had.
pub(super) fn a_declared_length_allocates_nothing(format: &Format) -> Verdict {
    let entries: BTreeMap<_, _> = (0..70_000).map(|n| (format!("{n:05}"), n)).collect();
    // Long values make the format write long lengths; the head is all that is bent.
    let lengths = [
        encoded(format, &"t".repeat(70_000))?,
        encoded(format, &vec!["text".to_owned(); 70_000])?,
        encoded(format, &Blob(vec![7; 70_000]))?,
        encoded(format, &vec![(); 70_000])?,
        encoded(format, &entries)?,
    ];
    let measuring = MEASURING.lock();
    let before = address_space_kib();
    for whole in &lengths {
        let whole = whole.get(..64).unwrap_or(whole);
        for at in 0..whole.len().min(12) {
            for claim in [&[0xff; 4][..], &[0x7f, 0xff, 0xff, 0xff], &[0xff, 0xff, 0xff, 0x7f]] {
                let mut bent = whole.to_vec();
                let end = bent.len().min(at.saturating_add(claim.len()));
                for (byte, new) in bent.iter_mut().take(end).skip(at).zip(claim) {
                    *byte = *new;
                }
                examine(format, &bent)?;
            }
        }
    }
    let taken = address_space_kib().saturating_sub(before);
    drop(measuring);
    ensure(taken < ALLOCATED_KIB_MAX, || format!("{taken} KiB for a message of a few bytes"))
}

/// Returns the most address space that the process has had, or 0 where that is not known.
fn address_space_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    let number = peak.and_then(|text| text.split_whitespace().next());
    number.and_then(|text| text.parse().ok()).unwrap_or_default()
}

pub(super) fn nesting_ends_before_the_stack_does(format: &Format) -> Verdict {
    let max = DECODE_DEPTH_MAX;
    for levels in [1, max.saturating_sub(1), max] {
        let bytes = nested(format, levels)?.ok_or_else(|| format!("{levels} have no form"))?;
        for done in descend(format, bytes)? {
            done.map_err(|error| format!("{levels} levels are refused: {error}"))?;
        }
    }
    for levels in [max.saturating_add(1), max.saturating_mul(10), ABYSS] {
        // A format that refuses to write so many levels is still sent them by others.
        let Some(bytes) = nested(format, levels)? else { continue };
        for done in descend(format, bytes)? {
            let error = done.err().ok_or_else(|| format!("{levels} levels are taken"))?;
            bad_request(&error)?;
        }
    }
    Ok(())
}

/// Encodes so many levels, on a stack that holds them, if the format has a form for them.
fn nested(format: &Format, levels: usize) -> Result<Option<Vec<u8>>, String> {
    let format = format.clone();
    on_stack(STACK_BYTES.saturating_mul(32), move || encode(&format, &Nest::of(levels)).ok())
}

/// Decodes levels on a worker's stack, as a known and as an unknown type.
fn descend(
    format: &Format,
    bytes: Vec<u8>,
) -> Result<[Result<(), crate::core::error::Error>; 2], String> {
    let format = format.clone();
    on_stack(STACK_BYTES, move || {
        // What JSON or another format skips without a look at its depth costs no stack.
        drop(decode::<IgnoredAny>(&format, &bytes));
        [decode::<Nest>(&format, &bytes).map(drop), decode::<Value>(&format, &bytes).map(drop)]
    })
}

fn on_stack<T: Send + 'static>(
    bytes: usize,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let thread = thread::Builder::new().stack_size(bytes).spawn(run);
    let thread = thread.map_err(|error| format!("no thread to decode on: {error}"))?;
    thread.join().map_err(|_panic| "the codec panics".to_owned())
}
