//! Programs that no one here wrote, as clients and as servers.
//!
//! A test whose program is missing is ignored and says what to install; with
//! `MICRO_REQUIRE_SERVERS=1` it fails.

mod curl;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(feature = "tls")]
mod https;
mod numbers;
mod openapi;
mod program;
mod python;
#[cfg(unix)]
mod start_line;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let all = [curl::trials(), numbers::trials(), openapi::trials(), python::trials()];
    let trials: Vec<Trial> = all.into_iter().flatten().collect();
    #[cfg(unix)]
    let trials: Vec<Trial> = trials.into_iter().chain(start_line::trials()).collect();
    #[cfg(feature = "grpc")]
    let trials = trials.into_iter().chain(grpc::trials()).collect();
    #[cfg(feature = "tls")]
    let trials = trials.into_iter().chain(https::trials()).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
