//! `micro logs`: what processes log, and with `-f` what they go on to log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use micro::core::clock;
use micro::debug::{Level, LogQuery, Record};
use micro::service::observe::LogRequest;
use micro::{Client, Result};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::ask::{self, Process};
use crate::cli::Bench;
use crate::failure::{self, Outcome};
use crate::plain::plain;
use crate::when;

/// Records that wait to be printed.
const RECORDS_AHEAD: usize = 256;

/// Records of one process that are shown before those that follow, unless a number is asked for.
const COUNT_DEFAULT: usize = 100;

/// Pause between two looks for processes that have been started since.
const LOOK: Duration = Duration::from_secs(2);

pub(crate) fn command() -> Command {
    let text =
        |name: &'static str, value, help| Arg::new(name).long(name).value_name(value).help(help);
    Command::new("logs")
        .about("Show what processes log")
        .arg(Arg::new("service").value_name("SERVICE").help("The service; all of them without it"))
        .arg(
            Arg::new("follow")
                .short('f')
                .long("follow")
                .action(ArgAction::SetTrue)
                .help("Go on as records come"),
        )
        .arg(
            text("count", "NUMBER", "The latest so many of each process [default: 100]")
                .short('n')
                .value_parser(clap::value_parser!(usize)),
        )
        .arg(
            text("level", "LEVEL", "Those that are this grave or graver")
                .value_parser(["error", "warn", "info", "debug", "trace"]),
        )
        .arg(text("target", "PREFIX", "Those whose target begins so"))
        .arg(text("trace", "ID", "Those of a trace"))
}

/// A record, and where it comes from.
#[derive(Debug, Serialize)]
struct Line {
    #[serde(flatten)]
    process: Process,
    #[serde(flatten)]
    record: Record,
}

pub(crate) async fn run(args: &ArgMatches, bench: &Bench) -> Outcome {
    let service = args.get_one::<String>("service").map(String::as_str);
    let processes = ask::processes(bench, service).await?;
    if args.get_flag("follow") {
        return follow(processes, service, request(args)?.followed(), bench).await;
    }
    let client = bench.tools.client().build();
    let (lines, mut read) = mpsc::channel(RECORDS_AHEAD);
    for process in processes {
        let reading = copy(client.clone(), process, request(args)?, lines.clone());
        bench.tools.tasks().spawn("logs", reading).detach();
    }
    drop(lines);
    let mut all = Vec::new();
    while let Some(line) = read.recv().await {
        match line {
            Ok(line) => all.push(line),
            Err((process, error)) => unread(&process, &error),
        }
    }
    all.sort_by_key(|line: &Line| line.record.timestamp_us);
    all.iter().try_for_each(|line| print(line, bench))
}

fn request(args: &ArgMatches) -> Outcome<LogRequest> {
    let mut query =
        LogQuery::last(args.get_one::<usize>("count").copied().unwrap_or(COUNT_DEFAULT));
    if let Some(level) = args.get_one::<String>("level") {
        query = query.with_level(level_of(level));
    }
    if let Some(target) = args.get_one::<String>("target") {
        query = query.with_target(target);
    }
    if let Some(trace) = args.get_one::<String>("trace") {
        query = query.with_trace(trace);
    }
    Ok(LogRequest::new(query))
}

fn level_of(name: &str) -> Level {
    let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug];
    levels.into_iter().find(|level| level.as_str() == name).unwrap_or(Level::Trace)
}

type Read = std::result::Result<Line, (Process, micro::Error)>;

/// Prints records as they come, those of processes that are started later too.
async fn follow(
    mut processes: Vec<Process>,
    service: Option<&str>,
    request: LogRequest,
    bench: &Bench,
) -> Outcome {
    let client = bench.tools.client().build();
    let (lines, mut read) = mpsc::channel(RECORDS_AHEAD);
    let mut known = BTreeSet::new();
    let mut shown = Shown::default();
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        for process in processes.drain(..) {
            if known.insert(process.address.clone()) {
                let request = shown.onwards(&process.address, &request);
                let reading = copy(client.clone(), process, request, lines.clone());
                bench.tools.tasks().spawn("logs", reading).detach();
            }
        }
        let mut look = std::pin::pin!(clock::sleep(LOOK));
        loop {
            tokio::select! {
                line = read.recv() => match line {
                    Some(Ok(line)) => {
                        shown.note(&line);
                        print(&line, bench)?;
                    }
                    Some(Err((process, error))) => {
                        unread(&process, &error);
                        known.remove(&process.address);
                    }
                    None => return Ok(()),
                },
                () = &mut look => break,
                _ = &mut interrupted => return Ok(()),
            }
        }
        // A service that is gone for a while may come again.
        processes = ask::processes(bench, service).await.unwrap_or_default();
    }
}

/// How far the log of each process was shown: a stream that breaks off, with its connection if with
/// nothing else, is followed anew and repeats nothing.
#[derive(Debug, Default)]
struct Shown {
    /// The time of the latest record, by address.
    latest: BTreeMap<String, u64>,
}

impl Shown {
    fn note(&mut self, line: &Line) {
        let latest = self.latest.entry(line.process.address.clone()).or_default();
        *latest = (*latest).max(line.record.timestamp_us);
    }

    /// Returns a request for what a process has logged since.
    fn onwards(&self, address: &str, request: &LogRequest) -> LogRequest {
        let mut request = request.clone();
        if let Some(latest) = self.latest.get(address) {
            // All of it, however much that is.
            request.count = 0;
            request.since_us = request.since_us.max(latest.saturating_add(1));
        }
        request
    }
}

/// Hands on the records of one process, and the error that ends them.
async fn copy(client: Client, process: Process, request: LogRequest, lines: mpsc::Sender<Read>) {
    let ended = async {
        let call = client.server_stream::<_, Record>(process.service(), "Debug.Log", &request);
        let mut records = call.to(&process.address).await?;
        while let Some(record) = records.next().await {
            let line = Line { process: process.clone(), record: record? };
            if lines.send(Ok(line)).await.is_err() {
                break;
            }
        }
        Result::Ok(())
    };
    let error = match ended.await {
        Err(error) => error,
        Ok(()) if request.stream => micro::Error::unavailable("micro.cli", "its log has ended"),
        Ok(()) => return,
    };
    // Nobody reads when nothing is printed any more.
    let _told = lines.send(Err((process, error))).await;
}

fn unread(process: &Process, error: &micro::Error) {
    let (names, address) = (process.names(), &process.address);
    failure::warn(&format!("{names} at {address}: {}", error.detail()));
}

fn print(line: &Line, bench: &Bench) -> Outcome {
    if bench.screen.is_json() {
        return bench.screen.line(line);
    }
    let record = &line.record;
    let facts: String =
        record.metadata.iter().map(|(key, value)| format!(" {key}={value}")).collect();
    let trace = record.trace.as_ref().map_or_else(String::new, |trace| format!(" trace={trace}"));
    let text = format!(
        "{} {:5} {} {}: {}{facts}{trace}",
        when::time(record.timestamp_us),
        record.level.as_str(),
        line.process.names(),
        record.target,
        record.message,
    );
    bench.screen.text(&format!("{}\n", plain(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_followed_anew_goes_on_after_the_latest_record() {
        let line = |address: &str, timestamp_us: u64| {
            let json = serde_json::json!({"timestamp_us": timestamp_us});
            let record = serde_json::from_value(json).unwrap();
            Line { process: Process { services: vec![], address: address.into() }, record }
        };
        let first = LogRequest::new(LogQuery::last(100)).followed();
        let mut shown = Shown::default();
        assert_eq!(shown.onwards("h:1", &first), first);
        shown.note(&line("h:1", 7));
        shown.note(&line("h:1", 5));
        let again = shown.onwards("h:1", &first);
        assert_eq!((again.count, again.since_us, again.stream), (0, 8, true));
        assert_eq!(shown.onwards("h:2", &first), first);
    }
}
