//! Backends on servers: each against a copy of its server that the test starts, kills and pauses.

#[cfg(feature = "postgres")]
mod postgres;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let groups: &[fn() -> Vec<Trial>] = &[
        #[cfg(feature = "postgres")]
        postgres::trials,
    ];
    let trials = groups.iter().flat_map(|group| group()).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
