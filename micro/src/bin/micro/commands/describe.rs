//! `micro describe SERVICE`: its nodes, its endpoints, what it listens to.

use clap::{Arg, ArgMatches, Command};
use micro::core::descriptor::CallKind;
use micro::registry::{Endpoint, Record};

use crate::cli::Bench;
use crate::failure::Outcome;
use crate::find;
use crate::plain::plain;
use crate::table::Table;

pub(crate) fn command() -> Command {
    Command::new("describe")
        .about("Show the nodes and the endpoints of a service")
        .arg(Arg::new("service").value_name("SERVICE").required(true))
}

pub(crate) async fn run(args: &ArgMatches, bench: &Bench) -> Outcome {
    let name = args.get_one::<String>("service").map_or("", String::as_str);
    let records = find::service(bench.tools.registry().as_ref(), name).await?;
    if bench.screen.is_json() {
        return bench.screen.document(&records);
    }
    for (index, record) in records.iter().enumerate() {
        if index > 0 {
            bench.screen.text("\n")?;
        }
        bench.screen.text(&text(record))?;
    }
    Ok(())
}

fn text(record: &Record) -> String {
    let version = if record.version.is_empty() { "without a version" } else { &record.version };
    let mut out = format!("{} {}\n", plain(&record.name), plain(version));
    for (key, value) in &record.metadata {
        out.push_str(&format!("  {} = {}\n", plain(key), plain(value)));
    }
    out.push('\n');
    out.push_str(&nodes(record).text());
    let (called, listening): (Vec<_>, Vec<_>) =
        record.endpoints.iter().partition(|endpoint| find::is_called(endpoint));
    if !called.is_empty() {
        out.push('\n');
        out.push_str(&endpoints(&called).text());
    }
    if !listening.is_empty() {
        out.push('\n');
        out.push_str(&subscriptions(&listening).text());
    }
    out
}

fn nodes(record: &Record) -> Table {
    let mut table = Table::new(["NODE", "ADDRESS", "FACTS"]);
    for node in &record.nodes {
        let facts: Vec<_> =
            node.metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
        table.row([&node.id, &node.address, &facts.join(" ")]);
    }
    table
}

fn endpoints(endpoints: &[&Endpoint]) -> Table {
    let mut table = Table::new(["ENDPOINT", "REQUEST", "RESPONSE", "DESCRIPTION", "EXAMPLE"]);
    for endpoint in endpoints {
        let kind = find::kind_of(endpoint);
        let shape = |value: &Option<micro::registry::Value>, streams: bool| {
            let kind = value.as_ref().map_or("", |value| value.kind.as_str());
            if streams { format!("stream of {kind}") } else { kind.to_owned() }
        };
        table.row([
            &endpoint.name,
            &shape(&endpoint.request, CallKind::streams_requests(kind)),
            &shape(&endpoint.response, CallKind::streams_responses(kind)),
            fact(endpoint, "description"),
            fact(endpoint, "example"),
        ]);
    }
    table
}

fn subscriptions(endpoints: &[&Endpoint]) -> Table {
    let mut table = Table::new(["SUBSCRIBER", "TOPIC", "QUEUE", "DESCRIPTION"]);
    for endpoint in endpoints {
        let (topic, queue) = (fact(endpoint, "topic"), fact(endpoint, "queue"));
        table.row([&endpoint.name, topic, queue, fact(endpoint, "description")]);
    }
    table
}

fn fact<'a>(endpoint: &'a Endpoint, key: &str) -> &'a str {
    endpoint.metadata.get(key).map_or("", String::as_str)
}
