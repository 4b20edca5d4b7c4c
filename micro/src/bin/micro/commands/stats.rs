//! `micro stats`: the numbers of every process and of its endpoints.

use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use micro::debug::{EndpointStats, Stats};

use crate::ask::{self, Answer, Given};
use crate::cli::Bench;
use crate::failure::Outcome;
use crate::table::Table;
use crate::when;

pub(crate) fn command() -> Command {
    let service =
        Arg::new("service").value_name("SERVICE").help("The service; all of them without it");
    Command::new("stats").about("Show the numbers of processes and endpoints").arg(service)
}

pub(crate) async fn run(args: &ArgMatches, bench: &Bench) -> Outcome {
    let service = args.get_one::<String>("service").map(String::as_str);
    let found = ask::processes(bench, service).await?;
    let answers = ask::each::<_, Stats>(bench, found, "Debug.Stats", &()).await?;
    if bench.screen.is_json() {
        bench.screen.document(&answers)?;
    } else {
        let text = format!("{}\n{}", processes(&answers).text(), endpoints(&answers).text());
        bench.screen.text(&text)?;
    }
    ask::told(&answers)
}

fn given(answers: &[Answer<Stats>]) -> impl Iterator<Item = (&Answer<Stats>, &Stats)> {
    answers.iter().filter_map(|answer| match &answer.given {
        Given::Answer(stats) => Some((answer, stats)),
        Given::Error(_) => None,
    })
}

fn processes(answers: &[Answer<Stats>]) -> Table {
    let columns =
        ["PROCESS", "SERVICES", "ADDRESS", "UP", "REQUESTS", "ERRORS", "MEMORY", "CPU", "FILES"];
    let mut table = Table::new(columns);
    for (answer, stats) in given(answers) {
        let process = &stats.process;
        let number = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
        table.row([
            &stats.name,
            &answer.process.names(),
            &answer.process.address,
            &when::span(Duration::from_secs(stats.uptime)),
            &stats.requests.to_string(),
            &stats.errors.to_string(),
            &process.memory.map_or_else(String::new, when::bytes),
            &process.cpu_ms.map_or_else(String::new, |ms| when::span(Duration::from_millis(ms))),
            &number(process.fds),
        ]);
    }
    table
}

fn endpoints(answers: &[Answer<Stats>]) -> Table {
    let columns =
        ["SERVICE", "ENDPOINT", "ADDRESS", "REQUESTS", "ERRORS", "IN FLIGHT", "MEDIAN", "99 %"];
    let mut table = Table::new(columns);
    for (answer, stats) in given(answers) {
        for endpoint in &stats.endpoints {
            let EndpointStats { service, endpoint: name, in_flight, outcomes, latency, .. } =
                endpoint;
            let quantile = |share| latency.quantile(share).map_or_else(String::new, when::span);
            table.row([
                service,
                name,
                &answer.process.address,
                &outcomes.requests().to_string(),
                &outcomes.errors().to_string(),
                &in_flight.to_string(),
                &quantile(0.5),
                &quantile(0.99),
            ]);
        }
    }
    table
}
