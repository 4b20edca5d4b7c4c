//! The circumstances that a reader must know: cores, kernel, load, versions.

use std::fs;

use crate::outcome::Outcome;

/// The cores of server and client in pinned cells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    pub(crate) server: u32,
    pub(crate) client: u32,
}

/// The first two cores that this process may use.
pub(crate) fn cores() -> Outcome<Cores> {
    let status = fs::read_to_string("/proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let allowed = expand(list.ok_or("the kernel does not say which cores are allowed")?);
    match allowed.as_slice() {
        [server, client, ..] => Ok(Cores { server: *server, client: *client }),
        _ => Err("pinned cells need two cores; use @mt cells only".into()),
    }
}

/// `0,2-4` as numbers.
fn expand(list: &str) -> Vec<u32> {
    let ranges = list.trim().split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
    });
    ranges.flatten().collect()
}

/// One line about the machine, with the load as it is at this moment.
pub(crate) fn describe() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    format!(
        "{cores} cores, Linux {}, congestion control {}, load {load}",
        read("/proc/sys/kernel/osrelease"),
        read("/proc/sys/net/ipv4/tcp_congestion_control"),
    )
}

/// `name version` as locked when this program was built.
pub(crate) fn version(package: &str) -> String {
    let lock = include_str!("../Cargo.lock");
    let entry = format!("name = \"{package}\"\nversion = \"");
    let version = lock.split_once(&entry).and_then(|(_, rest)| rest.split('"').next());
    format!("{package} {}", version.unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn core_lists_are_expanded() {
        assert_eq!(super::expand("\t0,2-4\n"), [0, 2, 3, 4]);
    }

    #[test]
    fn locked_versions_are_found() {
        assert!(super::version("tonic").starts_with("tonic 0."));
        assert_eq!(super::version("nonesuch"), "nonesuch ?");
    }
}
