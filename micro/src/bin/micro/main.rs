//! `micro`: the command line over running services.
//!
//! Exit codes: 0 done, 1 failed, 2 used wrongly. Results go to standard output, everything else to
//! standard error.

mod ask;
mod cli;
mod commands;
mod failure;
mod find;
mod input;
mod log;
mod plain;
mod progress;
mod screen;
mod table;
mod when;

use std::process::ExitCode;

fn main() -> ExitCode {
    log::install();
    let matches = match cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(wrong) => return failure::usage(&wrong),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::exit(Err(error.into())),
    };
    let outcome = runtime.block_on(cli::run(&matches));
    // Somebody may still be expected to type a line.
    runtime.shutdown_background();
    failure::exit(outcome)
}
