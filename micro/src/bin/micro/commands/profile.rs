//! `micro profile SERVICE`: what its processes spend time on, as stacks for flame graphs.

use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use micro::debug::{Profile, ProfileRequest};

use crate::ask::{self, Given};
use crate::cli::Bench;
use crate::failure::Outcome;

/// Seconds of a profile unless others are asked for.
const SECONDS_DEFAULT: u32 = 5;

/// How long an answer may take beside the profile itself: symbols are looked up.
const MARGIN: Duration = Duration::from_secs(30);

pub(crate) fn command() -> Command {
    let number = |name: &'static str, help| {
        let arg = Arg::new(name).long(name).value_name("NUMBER").help(help);
        arg.value_parser(clap::value_parser!(u32))
    };
    Command::new("profile")
        .about("Show what the processes of a service spend time on, as folded stacks")
        .arg(Arg::new("service").value_name("SERVICE").required(true))
        .arg(number("seconds", "How long to look [default: 5]"))
        .arg(number("hertz", "How often in a second; the process chooses without it"))
}

pub(crate) async fn run(args: &ArgMatches, bench: &Bench) -> Outcome {
    let service = args.get_one::<String>("service").map(String::as_str);
    let processes = ask::processes(bench, service).await?;
    let number = |name: &str| args.get_one::<u32>(name).copied();
    let mut request = ProfileRequest::default();
    request.seconds = number("seconds").unwrap_or(SECONDS_DEFAULT);
    request.hertz = number("hertz").unwrap_or_default();
    let timeout = MARGIN.saturating_add(Duration::from_secs(request.seconds.into()));
    let question = ("Debug.Profile", &request);
    let answers = ask::each_within::<_, Profile>(timeout, bench, processes, question).await?;
    if bench.screen.is_json() {
        bench.screen.document(&answers)?;
    } else {
        for answer in &answers {
            if let Given::Answer(profile) = &answer.given {
                bench.screen.text(&profile.folded)?;
            }
        }
    }
    ask::told(&answers)
}
