//! Backends on servers: each against a copy of its server that the test starts, kills and pauses.

#[cfg(feature = "redis")]
mod redis;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    #[allow(unused_mut, reason = "the backends are features")]
    let mut trials: Vec<Trial> = Vec::new();
    #[cfg(feature = "redis")]
    trials.extend(redis::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
