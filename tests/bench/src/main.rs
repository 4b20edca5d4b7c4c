//! A benchmark of contenders on loopback: server and client as separate processes, rounds
//! interleaved between the contenders, medians with quartiles.
//!
//! This one program is the orchestrator and, executing itself, both roles of its children:
//! `bench serve CONTENDER ct|mt` and `bench drive CONTENDER WORKLOAD`.
//!
//! * `cargo run --release` runs every contender in every cell, prints rows and writes Markdown. It
//!   fails where `raw` is not so many times as fast as tarpc as a limit has to be.
//! * `cargo run --release -- --quick` does so within a minute, for a look; it fails over nothing
//!   but contenders that do not work.
//! * `cargo run --release -- --against OTHER` compares this build with another one, such as that of
//!   the commit before: build there, copy its `target/release/bench` away, build here. Both run
//!   `native` in turns, twenty rounds unless `--rounds` says otherwise, in the cells of `--cells`;
//!   printed are the quartiles of the ratios of processor seconds for 100 000 calls. It fails
//!   where an upper quartile is above 1.05. On a machine that does something else meanwhile only
//!   these ratios are worth anything.

mod against;
mod bench;
mod bounds;
mod cell;
mod child;
mod contender;
mod cpu;
mod latency;
mod machine;
mod markdown;
mod message;
mod options;
mod orchestrate;
mod outcome;
mod peer;
mod peers;
mod results;
mod role;
mod rows;
mod summary;
mod workload;

use std::io::Write as _;
use std::process::ExitCode;

use crate::cell::Threads;
use crate::outcome::Outcome;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            // Without standard error there is nobody left to tell.
            writeln!(std::io::stderr(), "bench: {fault}").ok();
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Outcome<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", contender, "ct"] => role::serve(contender.parse()?, Threads::Ct),
        ["serve", contender, "mt"] => role::serve(contender.parse()?, Threads::Mt),
        ["drive", contender, workload] => role::drive(contender.parse()?, workload),
        words => {
            let options = options::parse(words)?;
            match &options.against {
                Some(other) => against::run(&options, other),
                None => orchestrate::run(&options),
            }
        }
    }
}
