//! `micro services`: what is registered.

use std::collections::{BTreeMap, BTreeSet};

use clap::Command;
use micro::registry::Record;
use serde::Serialize;

use crate::cli::Bench;
use crate::failure::Outcome;
use crate::find;
use crate::progress::Progress;
use crate::table::Table;

pub(crate) fn command() -> Command {
    Command::new("services").about("List the services that run").alias("list")
}

/// A service in few words.
#[derive(Debug, Default, Serialize)]
struct Line {
    name: String,
    versions: BTreeSet<String>,
    nodes: usize,
    endpoints: usize,
}

pub(crate) async fn run(bench: &Bench) -> Outcome {
    let progress = Progress::waiting("asking the registry");
    let records = find::services(bench.tools.registry().as_ref(), None).await?;
    drop(progress);
    bench.screen.show(&lines(&records), |lines| {
        let mut table = Table::new(["NAME", "VERSION", "NODES", "ENDPOINTS"]);
        for line in lines {
            let versions = Vec::from_iter(line.versions.iter().map(String::as_str)).join(", ");
            let (nodes, endpoints) = (line.nodes.to_string(), line.endpoints.to_string());
            table.row([&line.name, &versions, &nodes, &endpoints]);
        }
        table
    })
}

fn lines(records: &[Record]) -> Vec<Line> {
    let mut lines: BTreeMap<&str, (Line, BTreeSet<&str>)> = BTreeMap::new();
    for record in records.iter().filter(|record| !record.nodes.is_empty()) {
        let (line, endpoints) = lines.entry(&record.name).or_default();
        line.name.clone_from(&record.name);
        line.versions.insert(record.version.clone());
        line.nodes += record.nodes.len();
        endpoints.extend(record.endpoints.iter().map(|endpoint| endpoint.name.as_str()));
    }
    let count =
        |(line, endpoints): (Line, BTreeSet<&str>)| Line { endpoints: endpoints.len(), ..line };
    lines.into_values().map(count).collect()
}
