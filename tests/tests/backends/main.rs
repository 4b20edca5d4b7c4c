//! Backends on servers: each against a copy of its server that the test starts, kills and pauses.

#[cfg(feature = "nats")]
mod nats_brokers;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let trials: Vec<Trial> = [
        #[cfg(feature = "nats")]
        nats_brokers::trials(),
        Vec::new(),
    ]
    .into_iter()
    .flatten()
    .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
