//! Processor time of a process, user and system together, to the nanosecond.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::outcome::Outcome;

/// What the process used since it started, all of its threads together.
pub(crate) fn used_by(process: u32) -> Outcome<Duration> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(i32::try_from(process)?))?;
    Ok(Duration::from(clock_gettime(clock)?))
}
