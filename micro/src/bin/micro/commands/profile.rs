//! `micro profile SERVICE`: what its processes spend time on.

use clap::{Arg, ArgMatches, Command};
use serde_json::Value;

use crate::ask;
use crate::cli::Bench;
use crate::failure::Outcome;

pub(crate) fn command() -> Command {
    let service = Arg::new("service").value_name("SERVICE").required(true);
    Command::new("profile")
        .about("Show what the processes of a service spend time on, where they have a profiler")
        .arg(service)
}

pub(crate) async fn run(args: &ArgMatches, bench: &Bench) -> Outcome {
    let service = args.get_one::<String>("service").map(String::as_str);
    let processes = ask::processes(bench, service).await?;
    let answers = ask::each::<_, Value>(bench, processes, "Debug.Profile", &()).await?;
    bench.screen.document(&answers)?;
    ask::told(&answers)
}
