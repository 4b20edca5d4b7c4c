//! `micro config dump`: every setting, and where it comes from.

use clap::Command;
use serde_json::{Value, json};

use crate::cli::Bench;
use crate::failure::Outcome;
use crate::table::Table;

pub(crate) fn command() -> Command {
    let dump =
        "Show every setting that a service would have here, where it comes from, secrets masked";
    Command::new("config")
        .about("Look at settings")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("dump").about(dump))
}

pub(crate) fn run(bench: &Bench) -> Outcome {
    let settings = bench.tools.config().settings();
    if !bench.screen.is_json() {
        let mut table = Table::new(["KEY", "VALUE", "FROM"]);
        for setting in &settings {
            table.row([&setting.key, &setting.value, &setting.origin]);
        }
        return bench.screen.text(&table.text());
    }
    let line = |setting: &micro::config::Setting| {
        // What a source holds as loose text is no JSON, and is shown as the text that it is.
        let value = serde_json::from_str(&setting.value);
        let value = value.unwrap_or_else(|_| Value::from(setting.value.as_str()));
        json!({"key": setting.key, "value": value, "from": setting.origin})
    };
    bench.screen.document(&settings.iter().map(line).collect::<Vec<_>>())
}
