//! Backends on servers: each against a copy of its server that the test starts, kills and pauses.

#[cfg(feature = "consul")]
mod consul;
#[cfg(feature = "dns")]
mod dns;
#[cfg(feature = "gossip")]
mod gossip;
#[cfg(feature = "kubernetes")]
mod kubernetes;
#[cfg(feature = "nats")]
mod nats;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let groups: Vec<Vec<Trial>> = vec![
        #[cfg(feature = "consul")]
        consul::trials(),
        #[cfg(feature = "dns")]
        dns::trials(),
        #[cfg(feature = "gossip")]
        gossip::trials(),
        #[cfg(feature = "kubernetes")]
        kubernetes::trials(),
        #[cfg(feature = "nats")]
        nats::trials(),
    ];
    let trials = groups.into_iter().flatten().collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
