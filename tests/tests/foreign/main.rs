//! Programs that no one here wrote, as clients and as servers.
//!
//! A test whose program is missing is ignored and says what to install; with
//! `MICRO_REQUIRE_SERVERS=1` it fails.

#[cfg(unix)]
mod curl;
mod program;
mod python;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let mut trials: Vec<Trial> = python::trials();
    #[cfg(unix)]
    trials.extend(curl::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
