//! A benchmark of contenders on loopback: server and client as separate processes, rounds
//! interleaved between the contenders, medians with quartiles.
//!
//! This one program is the orchestrator and, executing itself, both roles of its children:
//! `bench serve CONTENDER ct|mt` and `bench drive CONTENDER WORKLOAD`.

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
        words => orchestrate::run(&options::parse(words)?),
    }
}
