//! Backends on servers: each against a copy of its server that the test starts, kills and pauses.

#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "zookeeper")]
mod zookeeper;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let groups: &[fn() -> Vec<Trial>] = &[
        #[cfg(feature = "etcd")]
        etcd::trials,
        #[cfg(feature = "nats")]
        nats::trials,
        #[cfg(feature = "zookeeper")]
        zookeeper::trials,
    ];
    let trials = groups.iter().flat_map(|group| group()).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
