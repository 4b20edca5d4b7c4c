//! Backends on servers: each against a copy of its server that the test starts, kills and pauses.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;

fn main() -> ExitCode {
    let groups: Vec<Vec<Trial>> = vec![
        #[cfg(feature = "nats")]
        nats::trials(),
        #[cfg(feature = "rabbitmq")]
        rabbitmq::trials(),
    ];
    let trials = groups.into_iter().flatten().collect();
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    #[cfg(feature = "rabbitmq")]
    rabbitmq::end();
    conclusion.exit_code()
}
