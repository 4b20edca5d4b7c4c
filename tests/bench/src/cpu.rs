//! Processor time: of a process, to the nanosecond, and of the whole machine.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::outcome::Outcome;

/// What the process used since it started, all of its threads together.
pub(crate) fn used_by(process: u32) -> Outcome<Duration> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(i32::try_from(process)?))?;
    Ok(Duration::from(clock_gettime(clock)?))
}

/// What all processes together used since the machine started, in steps of 10 ms.
pub(crate) fn used_by_all() -> Outcome<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    busy(&stat).ok_or_else(|| "the kernel does not say how busy the machine is".into())
}

/// User, nice, system, interrupts and stolen time; idle and waiting for I/O are left out, and so
/// is guest time, which is part of user time.
fn busy(stat: &str) -> Option<Duration> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Option<Vec<u64>> = line.split_whitespace().map(|word| word.parse().ok()).collect();
    match ticks?.as_slice() {
        [user, nice, system, _idle, _wait, irq, softirq, steal, ..] => {
            let ticks = user + nice + system + irq + softirq + steal;
            Some(Duration::from_millis(ticks * 10))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[test]
    fn idle_time_is_not_busy() {
        let stat = "cpu  1 2 4 100 200 8 16 32 0 0\ncpu0 1 2 4 100 200 8 16 32 0 0\n";
        assert_eq!(super::busy(stat), Some(Duration::from_millis(630)));
    }
}
