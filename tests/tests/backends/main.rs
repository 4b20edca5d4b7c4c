//! Backends on servers: each against a copy of its server that the test starts, kills and pauses.

#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(any(feature = "nats", feature = "rabbitmq"))]
mod transports;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let groups: Vec<Vec<Trial>> = vec![
        #[cfg(feature = "nats")]
        nats::trials(),
        #[cfg(feature = "rabbitmq")]
        rabbitmq::trials(),
        #[cfg(any(feature = "nats", feature = "rabbitmq"))]
        transports::trials(),
    ];
    let trials = groups.into_iter().flatten().collect();
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    #[cfg(feature = "rabbitmq")]
    rabbitmq::end();
    conclusion.exit_code()
}
