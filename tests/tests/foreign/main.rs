//! Programs that no one here wrote, as clients and as servers.
//!
//! A test whose program is missing is ignored and says what to install; with
//! `MICRO_REQUIRE_SERVERS=1` it fails.

mod curl;
mod example;
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
    let all =
        [curl::trials(), example::trials(), numbers::trials(), openapi::trials(), python::trials()];
    let mut trials: Vec<Trial> = all.into_iter().flatten().collect();
    #[cfg(unix)]
    trials.extend(start_line::trials());
    #[cfg(feature = "grpc")]
    trials.extend(grpc::trials());
    #[cfg(feature = "tls")]
    trials.extend(https::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
