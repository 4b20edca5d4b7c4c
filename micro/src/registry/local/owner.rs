//! Whether the process that wrote an entry still runs, and the clock its lease is measured by.
//!
//! All processes of a machine share the time since boot, which no one can set. Where the system
//! does not tell it, the date takes its place.

use std::fs;

use serde::Deserialize;
use serde::Serialize;

use crate::core::clock;

/// A process, told apart from later ones with the same number by when it started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    pid: u32,
    /// Clock ticks since boot at which the process started.
    start: u64,
    /// The namespace in which `pid` means something.
    namespace: String,
}

/// What this process knows of itself and the machine; read once.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// `None` where processes cannot be told apart; leases then end by time alone.
    pub(super) owner: Option<Owner>,
    /// Tells one boot from the next; empty where leases are measured by the date.
    pub(super) boot: String,
}

impl Machine {
    pub(super) fn read() -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = if uptime_millis().is_some() { boot.trim().to_owned() } else { String::new() };
        Self { owner: this_process(), boot }
    }

    /// Returns the milliseconds that leases are measured in.
    pub(super) fn now_millis(&self) -> u64 {
        let uptime = if self.boot.is_empty() { None } else { uptime_millis() };
        uptime.unwrap_or_else(|| u64::try_from(clock::unix_now().as_millis()).unwrap_or(u64::MAX))
    }

    /// Returns whether a process has certainly ended; one that cannot be seen from here has not.
    pub(super) fn is_gone(&self, owner: &Owner) -> bool {
        let same_namespace =
            self.owner.as_ref().is_some_and(|own| own.namespace == owner.namespace);
        if !same_namespace {
            return false;
        }
        match fs::read_to_string(format!("/proc/{}/stat", owner.pid)) {
            Ok(stat) => parse_stat(&stat).is_none_or(|(dead, start)| dead || start != owner.start),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    }
}

fn this_process() -> Option<Owner> {
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?.to_str()?.to_owned();
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (pid, _) = stat.split_once(' ')?;
    let (_, start) = parse_stat(&stat)?;
    Some(Owner { pid: pid.parse().ok()?, start, namespace })
}

/// Returns whether a process is dead but unburied, and its start.
///
/// The name of the program stands in parentheses and may hold any character, so fields are counted
/// from the last closing one: the state is the first after it, the start the twentieth.
fn parse_stat(stat: &str) -> Option<(bool, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    let start = fields.nth(18)?.parse().ok()?;
    Some((matches!(state, "Z" | "X" | "x"), start))
}

fn uptime_millis() -> Option<u64> {
    let text = fs::read_to_string("/proc/uptime").ok()?;
    let (seconds, rest) = text.split_once('.')?;
    let hundredths: u64 = rest.get(..2)?.parse().ok()?;
    seconds.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(hundredths.checked_mul(10)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let fields: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        let stat = format!("7 (evil) R ) S {}", fields.join(" "));
        assert_eq!(parse_stat(&stat), Some((false, 22)));
        assert_eq!(parse_stat(&stat.replace(") S", ") Z")), Some((true, 22)));
        assert_eq!(parse_stat(""), None);
        assert_eq!(parse_stat("7 (a) S 1"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_is_gone_when_it_ended_or_its_number_was_reused() {
        let machine = Machine::read();
        let own = machine.owner.clone().unwrap();
        assert!(!machine.is_gone(&own));
        assert!(machine.is_gone(&Owner { start: own.start + 1, ..own.clone() }));
        let foreign = Owner { namespace: "pid:[1]".into(), pid: own.pid, start: 1 };
        assert!(!machine.is_gone(&foreign));

        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let start = parse_stat(&stat).unwrap().1;
        let owner = Owner { pid: child.id(), start, namespace: own.namespace };
        assert!(!machine.is_gone(&owner));
        child.kill().unwrap();
        // Not waited for yet: whether running, dead or unburied, it is gone soon.
        while !machine.is_gone(&owner) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(machine.is_gone(&owner));
    }

    #[test]
    fn the_lease_clock_does_not_go_back() {
        let machine = Machine::read();
        let first = machine.now_millis();
        assert!(first > 0 && machine.now_millis() >= first);
    }
}
