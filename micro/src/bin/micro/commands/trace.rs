//! `micro trace ID`: the parts of one trace, from every process; without an id, the latest traces.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use micro::core::error::Error;
use micro::debug::{Span, SpanKind, SpanQuery};
use micro::service::observe::Spans;
use serde::Serialize;

use crate::ask::{self, Answer, Given};
use crate::cli::Bench;
use crate::failure::{Failure, Outcome};
use crate::table::Table;
use crate::when;

/// Spans of each process among which the latest traces are looked for.
const LATEST: usize = 500;

/// Traces that are listed.
const TRACES_MAX: usize = 20;

/// How deep a trace is drawn.
const DEPTH_MAX: usize = 64;

pub(crate) fn command() -> Command {
    let id = Arg::new("id")
        .value_name("ID")
        .help("The trace, 32 hex digits; the latest ones without it");
    Command::new("trace").about("Show what one call did in every process").arg(id)
}

/// A span, and where it was recorded.
#[derive(Clone, Debug, Serialize)]
struct Part {
    services: String,
    address: String,
    #[serde(flatten)]
    span: Span,
}

pub(crate) async fn run(args: &ArgMatches, bench: &Bench) -> Outcome {
    let id = args.get_one::<String>("id").map(|id| id.to_ascii_lowercase());
    let query = match &id {
        Some(id) if id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit()) => {
            SpanQuery::of(id)
        }
        Some(id) => return Err(Failure::usage(format!("`{id}` is no trace: 32 hex digits"))),
        None => SpanQuery::last(LATEST),
    };
    let processes = ask::processes(bench, None).await?;
    let answers = ask::each::<_, Spans>(bench, processes, "Debug.Trace", &query).await?;
    let parts = parts(&answers);
    match id {
        Some(id) if parts.is_empty() => {
            ask::told(&answers)?;
            let detail = format!("no process has kept a part of the trace {id}");
            return Err(Error::not_found("micro.cli", detail).into());
        }
        Some(_) => bench.screen.show(&parts, |parts| tree(parts))?,
        None => bench.screen.show(&latest(&parts), |traces| list(traces))?,
    }
    ask::told(&answers)
}

/// Returns the spans of all processes in the order of their beginning.
fn parts(answers: &[Answer<Spans>]) -> Vec<Part> {
    let mut parts = Vec::new();
    for answer in answers {
        let Given::Answer(spans) = &answer.given else { continue };
        let (services, address) = (answer.process.names(), &answer.process.address);
        parts.extend(spans.spans.iter().map(|span| Part {
            services: services.clone(),
            address: address.clone(),
            span: span.clone(),
        }));
    }
    parts.sort_by_key(|part| part.span.started_us);
    parts
}

/// Draws the spans of one trace, each under the one that it is a part of.
fn tree(parts: &[Part]) -> Table {
    let mut table = Table::new(["SPAN", "SIDE", "PROCESS", "AFTER", "TOOK", "CODE"]);
    let known: BTreeSet<&str> = parts.iter().map(|part| part.span.id.as_str()).collect();
    let mut children: BTreeMap<&str, Vec<&Part>> = BTreeMap::new();
    let mut roots = Vec::new();
    for part in parts {
        // A part whose parent nobody has kept begins a tree of its own.
        if known.contains(part.span.parent.as_str()) && part.span.parent != part.span.id {
            children.entry(part.span.parent.as_str()).or_default().push(part);
        } else {
            roots.push(part);
        }
    }
    let start = parts.first().map_or(0, |part| part.span.started_us);
    let mut open: Vec<(&Part, usize)> = roots.into_iter().rev().map(|root| (root, 0)).collect();
    while let Some((part, depth)) = open.pop() {
        let after = Duration::from_micros(part.span.started_us.saturating_sub(start));
        let name = format!("{}{}", "  ".repeat(depth.min(DEPTH_MAX)), part.span.name);
        table.row([
            &name,
            side(part.span.kind),
            &part.services,
            &when::span(after),
            &when::span(Duration::from_nanos(part.span.duration_ns)),
            &part.span.code.to_string(),
        ]);
        // Taken out, so that parts that claim to contain each other end.
        let below = children.remove(part.span.id.as_str()).unwrap_or_default();
        open.extend(below.into_iter().rev().map(|child| (child, depth + 1)));
    }
    table
}

fn side(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        _ => "event",
    }
}

/// A trace in few words.
#[derive(Debug, Serialize)]
struct Trace {
    id: String,
    name: String,
    services: BTreeSet<String>,
    spans: usize,
    started_us: u64,
    took_ns: u64,
    code: u16,
}

/// Returns the latest traces, the latest first.
fn latest(parts: &[Part]) -> Vec<Trace> {
    let mut traces: BTreeMap<&str, Trace> = BTreeMap::new();
    for Part { services, span, .. } in parts {
        // The first part of a trace is the one that began first.
        let trace = traces.entry(&span.trace).or_insert_with(|| Trace {
            id: span.trace.clone(),
            name: span.name.clone(),
            services: BTreeSet::new(),
            spans: 0,
            started_us: span.started_us,
            took_ns: span.duration_ns,
            code: span.code,
        });
        trace.services.insert(services.clone());
        trace.spans += 1;
    }
    let mut traces: Vec<_> = traces.into_values().collect();
    traces.sort_by_key(|trace| Reverse(trace.started_us));
    traces.truncate(TRACES_MAX);
    traces
}

fn list(traces: &[Trace]) -> Table {
    let mut table = Table::new(["TRACE", "STARTED", "TOOK", "SPANS", "CODE", "BEGINS WITH"]);
    for trace in traces {
        table.row([
            &trace.id,
            &when::time(trace.started_us),
            &when::span(Duration::from_nanos(trace.took_ns)),
            &trace.spans.to_string(),
            &trace.code.to_string(),
            &trace.name,
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(id: &str, parent: &str, name: &str, started_us: u64) -> Part {
        let json = serde_json::json!({
            "trace": "t", "id": id, "parent": parent, "name": name, "started_us": started_us,
        });
        let span = serde_json::from_value(json).unwrap();
        Part { services: "shop".into(), address: "h:1".into(), span }
    }

    #[test]
    fn parts_hang_under_what_they_are_part_of_and_circles_end() {
        let parts = [part("1", "0", "buy", 1), part("2", "1", "take", 2), part("3", "1", "pay", 3)];
        let text = tree(&parts).text();
        let names: Vec<_> = text.lines().map(|line| line.split_at(6).0.trim_end()).collect();
        assert_eq!(names, ["SPAN", "buy", "  take", "  pay"]);
        let circle = [part("1", "2", "a", 1), part("2", "1", "b", 2), part("3", "3", "c", 3)];
        assert_eq!(tree(&circle).text().lines().count(), 2);
    }
}
