//! `micro health SERVICE`: how its nodes are.

use clap::{Arg, ArgMatches, Command};
use micro::debug::{HealthReport, Status};

use crate::ask::{self, Answer, Given};
use crate::cli::Bench;
use crate::failure::{Failure, Outcome};
use crate::table::Table;

pub(crate) fn command() -> Command {
    let service =
        Arg::new("service").value_name("SERVICE").help("The service; all of them without it");
    Command::new("health")
        .about("Tell how the processes of a service are; fails unless all are well")
        .arg(service)
}

pub(crate) async fn run(args: &ArgMatches, bench: &Bench) -> Outcome {
    let service = args.get_one::<String>("service").map(String::as_str);
    let processes = ask::processes(bench, service).await?;
    let answers = ask::each::<_, HealthReport>(bench, processes, "Debug.Health", &()).await?;
    bench.screen.show(&answers, |answers| table(answers))?;
    if answers.iter().all(is_well) { Ok(()) } else { Err(Failure::Unwell) }
}

fn is_well(answer: &Answer<HealthReport>) -> bool {
    matches!(&answer.given, Given::Answer(report) if report.status == Status::Ok)
}

fn table(answers: &[Answer<HealthReport>]) -> Table {
    let mut table = Table::new(["SERVICES", "ADDRESS", "STATUS", "DETAIL"]);
    for answer in answers {
        let (status, detail) = match &answer.given {
            Given::Answer(report) => (status(report), failing(report)),
            Given::Error(error) => ("no answer", error.clone()),
        };
        table.row([&answer.process.names(), &answer.process.address, status, &detail]);
    }
    table
}

fn status(report: &HealthReport) -> &'static str {
    match (report.live, report.ready) {
        (true, true) => "ok",
        (true, false) => "not ready",
        (false, _) => "failing",
    }
}

fn failing(report: &HealthReport) -> String {
    let failing = report.checks.iter().filter(|check| check.status != Status::Ok);
    let text: Vec<_> = failing.map(|check| format!("{}: {}", check.name, check.detail)).collect();
    text.join("; ")
}
