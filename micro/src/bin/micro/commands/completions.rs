//! `micro completions SHELL`: what a shell needs to complete the command line.

use clap::{Arg, ArgMatches, Command};
use clap_complete::{Shell, generate};

use crate::cli;
use crate::failure::{Failure, Outcome};
use crate::screen::Screen;

pub(crate) fn command() -> Command {
    let shell = Arg::new("shell").value_name("SHELL").required(true);
    Command::new("completions")
        .about("Write the completions for a shell")
        .arg(shell.value_parser(clap::value_parser!(Shell)))
}

pub(crate) fn run(args: &ArgMatches, screen: Screen) -> Outcome {
    let Some(shell) = args.get_one::<Shell>("shell") else {
        return Err(Failure::usage("for which shell?"));
    };
    let mut script = Vec::new();
    generate(*shell, &mut cli::command(), "micro", &mut script);
    screen.bytes(&script)
}
