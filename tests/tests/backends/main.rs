//! Backends on servers: each against a copy of its server that the test starts, kills and pauses.

#[cfg(any(feature = "nats", feature = "rabbitmq"))]
mod transports;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let trials: Vec<Trial> = [
        #[cfg(any(feature = "nats", feature = "rabbitmq"))]
        transports::trials(),
    ]
    .into_iter()
    .flatten()
    .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
