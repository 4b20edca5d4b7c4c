//! `micro dump SERVICE`: what its processes are doing, and their latest panics.

use clap::{Arg, ArgMatches, Command};
use micro::debug::Dump;

use crate::ask::{self, Given, Process};
use crate::cli::Bench;
use crate::failure::Outcome;
use crate::when;

pub(crate) fn command() -> Command {
    let service =
        Arg::new("service").value_name("SERVICE").help("The service; all of them without it");
    Command::new("dump")
        .about("Show tasks, threads and the latest panics of processes")
        .arg(service)
}

pub(crate) async fn run(args: &ArgMatches, bench: &Bench) -> Outcome {
    let service = args.get_one::<String>("service").map(String::as_str);
    let processes = ask::processes(bench, service).await?;
    let answers = ask::each::<_, Dump>(bench, processes, "Debug.Dump", &()).await?;
    if bench.screen.is_json() {
        bench.screen.document(&answers)?;
    } else {
        for answer in &answers {
            if let Given::Answer(dump) = &answer.given {
                bench.screen.text(&text(&answer.process, dump))?;
            }
        }
    }
    ask::told(&answers)
}

fn text(process: &Process, dump: &Dump) -> String {
    let mut out = format!("{} at {}\n", process.names(), process.address);
    for (what, counts) in [("tasks", &dump.tasks), ("threads", &dump.threads)] {
        out.push_str(&format!("  {what}:\n"));
        for (name, count) in counts {
            out.push_str(&format!("    {count:5} {name}\n"));
        }
    }
    for (what, facility) in [("tasks", &dump.task_frames), ("threads", &dump.thread_frames)] {
        if !facility.supported {
            out.push_str(&format!("  where {what} wait is not known: {}\n", facility.how));
        }
    }
    out.push_str(&format!("  panics: {}\n", dump.panics_seen));
    for panic in &dump.panics {
        let (time, place) = (when::time(panic.timestamp_us), &panic.location);
        out.push_str(&format!("    {time} {place} {}: {}\n", panic.endpoint, panic.message));
        for line in panic.backtrace.lines() {
            out.push_str(&format!("      {line}\n"));
        }
    }
    out
}
