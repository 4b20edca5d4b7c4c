//! The command line as a whole: its commands, its flags, and which code runs for what.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Command};
use micro::service::{self, Toolbox};

use crate::commands;
use crate::failure::{Failure, Outcome};
use crate::screen::{Form, Screen};

/// What every command works with.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) tools: Toolbox,
    pub(crate) screen: Screen,
}

const AFTER: &str = "`--help` lists the settings, too, which are those of every service.\n\
    Results are tables on a terminal and JSON elsewhere.\n\
    Exit codes: 0 done, 1 failed, 2 used wrongly.";

/// Settings that say how a process serves, and are rarely of use to one that does not.
const UNLISTED: [&str; 2] = ["server_", "register_"];

/// Describes the command line.
pub(crate) fn command() -> Command {
    let form = |name, help, other| {
        let arg = Arg::new(name).long(name).global(true).action(ArgAction::SetTrue);
        arg.help(help).conflicts_with(other)
    };
    Command::new("micro")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Looks at running services, calls them, and makes new ones")
        .after_help(AFTER)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .infer_subcommands(false)
        .arg(form("json", "Write JSON", "table"))
        .arg(form("table", "Write tables", "json"))
        .args(service::settings().map(|setting| flag(&setting)))
        .arg(
            Arg::new("set")
                .long("set")
                .value_name("KEY=VALUE")
                .action(ArgAction::Append)
                .global(true)
                .hide_short_help(true)
                .help_heading("Settings")
                .help("a setting of the program [MICRO_CONFIG_KEY]"),
        )
        .subcommands(commands::all())
}

/// Describes a setting as the flag that it is of every service.
fn flag(setting: &service::Setting) -> Arg {
    let variable = format!("MICRO_{}", setting.name.to_ascii_uppercase());
    Arg::new(setting.name)
        .long(setting.name.replace('_', "-"))
        .alias(setting.name)
        .value_name(setting.value)
        .global(true)
        .hide_short_help(true)
        .hide(UNLISTED.iter().any(|prefix| setting.name.starts_with(prefix)))
        .help_heading("Settings")
        .help(format!("{} [{variable}]", setting.help))
}

/// Returns the settings that were given, as a service reads them.
fn flags(matches: &ArgMatches) -> Vec<OsString> {
    let given = service::settings().filter_map(|setting| {
        let value = matches.get_one::<String>(setting.name)?;
        Some(format!("--{}={value}", setting.name).into())
    });
    let set = matches.get_many::<String>("set").into_iter().flatten();
    given.chain(set.map(|pair| format!("--set={pair}").into())).collect()
}

/// Runs the command that was asked for.
pub(crate) async fn run(matches: &ArgMatches) -> Outcome {
    let form = match (matches.get_flag("json"), matches.get_flag("table")) {
        (true, _) => Some(Form::Json),
        (_, true) => Some(Form::Table),
        _ => None,
    };
    let screen = Screen::new(form);
    let Some((name, args)) = matches.subcommand() else {
        return Err(Failure::usage("which command? `micro --help` lists them"));
    };
    // These need nothing that runs, and open nothing.
    match name {
        "completions" => return commands::completions::run(args, screen),
        "new" => return commands::new::run(args, screen),
        "config" => return Box::pin(commands::config::run(flags(matches), screen)).await,
        _ => {}
    }
    let tools = Toolbox::open(flags(matches)).await?;
    let bench = Bench { tools, screen };
    let outcome = Box::pin(commands::run(name, args, &bench)).await;
    bench.tools.close();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn settings_reach_the_services_own_reader() {
        let line = ["micro", "services", "--registry", "memory", "--set", "a=b"];
        let matches = command().try_get_matches_from(line).unwrap();
        assert_eq!(flags(&matches), ["--registry=memory", "--set=a=b"]);
        let line = ["micro", "--client_retries=3", "services"];
        let matches = command().try_get_matches_from(line).unwrap();
        assert_eq!(flags(&matches), ["--client_retries=3"]);
    }
}
