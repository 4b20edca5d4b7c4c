//! Where a process spends its time: stacks that are sampled for a while.

use serde::{Deserialize, Serialize};

use crate::core::error::{Error, Result};
use crate::core::limits::DebugLimits;
use crate::debug::ERROR_ID;

/// Seconds of a profile that names none; within the deadline that calls have by themselves.
const SECONDS: u32 = 5;

/// Samples a second of a profile that names none: a prime, so that it keeps no step with what
/// happens every hundredth of a second.
const HERTZ: u32 = 97;

/// How a profile is taken; what is 0 is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ProfileRequest {
    /// How long, in seconds; 5 if it is 0. The call needs a deadline beyond that.
    pub seconds: u32,
    /// How often a second of processor time; 97 if it is 0.
    pub hertz: u32,
}

impl ProfileRequest {
    /// Asks for a profile of so many seconds.
    pub fn seconds(seconds: u32) -> Self {
        Self { seconds, ..Self::default() }
    }

    /// Fills in what is left open.
    ///
    /// # Errors
    /// 400 when it is longer or more often than allowed.
    pub fn checked(&self, limits: &DebugLimits) -> Result<Self> {
        let chosen = |asked, default| if asked == 0 { default } else { asked };
        let (seconds, hertz) = (chosen(self.seconds, SECONDS), chosen(self.hertz, HERTZ));
        let max = limits.profile_seconds_max;
        if seconds > max {
            let detail = format!("a profile takes {max} seconds at most, not {seconds}");
            return Err(Error::bad_request(ERROR_ID, detail));
        }
        let max = limits.profile_hertz_max;
        if hertz > max {
            let detail = format!("a profile takes {max} samples a second at most, not {hertz}");
            return Err(Error::bad_request(ERROR_ID, detail));
        }
        Ok(Self { seconds, hertz })
    }
}

/// Where the processor's time went, as stacks with the times they were seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Profile {
    /// How long was sampled, in milliseconds.
    pub took_ms: u64,
    /// How often a second of processor time.
    pub hertz: u32,
    /// Samples that were taken.
    pub samples: u64,
    /// Samples of stacks that are left out, the rarest ones, for want of room.
    pub left_out: u64,
    /// One stack a line, the outermost frame first, with its samples: `thread;main;work 42`. Tools
    /// that draw flame graphs read this.
    pub folded: String,
}

/// Makes the error of a process without a profiler.
#[cfg(all(feature = "server", not(feature = "profile")))]
pub(crate) fn missing() -> Error {
    let detail = "there is no profiler in this process: enable the feature `profile` of micro, or \
                  use one of the system's, such as `perf record -g -p PID`";
    Error::unimplemented(ERROR_ID, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// L29: a profile has a length, held at it, above it and far above it.
    #[test]
    fn l29_profiles_are_as_long_and_as_fine_as_they_may_be() {
        let limits = DebugLimits::default();
        let ask = |seconds, hertz| ProfileRequest { seconds, hertz }.checked(&limits);
        assert_eq!(ask(0, 0).unwrap(), ProfileRequest { seconds: SECONDS, hertz: HERTZ });
        for (seconds, hertz, fine) in [(30, 1000, true), (31, 1, false), (u32::MAX, 1, false)] {
            assert_eq!(ask(seconds, hertz).is_ok(), fine, "{seconds}");
        }
        for hertz in [1001, u32::MAX] {
            assert_eq!(ask(1, hertz).unwrap_err().code(), 400);
        }
    }
}
