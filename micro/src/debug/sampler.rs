//! The profiler: the processor's time, sampled by a signal.
//!
//! There is one for the process, since there is one such signal. It costs nothing while nobody
//! asks for a profile.

use std::collections::HashMap;
use std::time::Duration;

use pprof::{Frames, ProfilerGuard, ProfilerGuardBuilder, Report};

use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::core::limits::DebugLimits;
use crate::debug::ERROR_ID;
use crate::debug::profile::{Profile, ProfileRequest};
use crate::debug::text::plain;

/// Libraries whose frames are not walked: a signal may have met them while they hold locks that
/// the walk needs, or their tables mislead it.
const BLOCKED: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

/// Bytes of the name of a frame; more is cut off.
const FRAME_BYTES_MAX: usize = 256;

/// Samples for as long as was asked, or until `end` completes.
///
/// Cancel safe: a profile that nobody waits for ends at once.
///
/// # Errors
/// 400 beyond the limits, 500 when the system does not allow it.
pub(crate) async fn profile(
    request: &ProfileRequest,
    limits: &DebugLimits,
    end: impl Future<Output = ()>,
) -> Result<Profile> {
    let request = request.checked(limits)?;
    let hertz = i32::try_from(request.hertz).unwrap_or(i32::MAX);
    let began = clock::now();
    let guard = ProfilerGuardBuilder::default()
        .frequency(hertz)
        .blocklist(&BLOCKED)
        .build()
        .map_err(failed)?;
    tokio::select! {
        () = clock::sleep(Duration::from_secs(request.seconds.into())) => {}
        () = end => {}
    }
    let took = clock::now().saturating_duration_since(began);
    let max = limits.profile_bytes_max;
    // Symbols take a while to look up.
    let folded = tokio::task::spawn_blocking(move || folded(&guard, max)).await;
    let (samples, left_out, folded) = folded.map_err(|error| {
        Error::internal(ERROR_ID, "the profile was not made").with_source(error)
    })??;
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    Ok(Profile { took_ms, hertz: request.hertz, samples, left_out, folded })
}

fn failed(error: pprof::Error) -> Error {
    Error::internal(ERROR_ID, "the system does not let the process sample itself")
        .with_source(error)
}

fn folded(guard: &ProfilerGuard<'_>, max: usize) -> Result<(u64, u64, String)> {
    let Report { data, .. } = guard.report().build().map_err(failed)?;
    let mut stacks: HashMap<String, u64> = HashMap::new();
    for (frames, count) in &data {
        *stacks.entry(line(frames)).or_default() += u64::try_from(*count).unwrap_or(0);
    }
    Ok(written(stacks, max))
}

/// Writes stacks, those seen most often first, as far as there is room.
fn written(stacks: HashMap<String, u64>, max: usize) -> (u64, u64, String) {
    let mut stacks: Vec<_> = stacks.into_iter().collect();
    stacks.sort_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
    let (mut samples, mut left_out, mut text) = (0_u64, 0_u64, String::new());
    for (stack, count) in stacks {
        samples += count;
        let line = format!("{stack} {count}\n");
        if left_out > 0 || text.len() + line.len() > max {
            left_out += count;
        } else {
            text.push_str(&line);
        }
    }
    (samples, left_out, text)
}

/// Writes one stack from the outermost frame to the innermost.
fn line(frames: &Frames) -> String {
    let mut line = name(&frames.thread_name);
    for symbol in frames.frames.iter().rev().flat_map(|inlined| inlined.iter().rev()) {
        line.push(';');
        line.push_str(&name(&symbol.name()));
    }
    line
}

/// Makes a name that neither ends a frame nor a line.
fn name(name: &str) -> String {
    plain(name, FRAME_BYTES_MAX).replace(';', ":")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// L29: the text of a profile is bounded, at the limit, above it and far above it.
    #[test]
    fn l29_the_rarest_stacks_are_left_out_for_want_of_room() {
        for (stacks, left_out) in [(4_u64, 0), (5, 1), (9, 15)] {
            let seen = (1..=stacks).map(|n| (format!("t;f{n}"), n)).collect();
            // Each line takes seven bytes.
            let (samples, missing, text) = written(seen, 28);
            assert_eq!((samples, missing), ((1..=stacks).sum(), left_out), "{text}");
            assert!(text.starts_with(&format!("t;f{stacks} {stacks}\n")), "{text}");
            assert_eq!(text.lines().count(), 4);
        }
    }
}
