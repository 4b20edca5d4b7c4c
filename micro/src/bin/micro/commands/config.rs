//! `micro config dump`: every setting, and where it comes from.

use std::ffi::OsString;

use clap::Command;
use micro::service::Toolbox;
use serde_json::{Value, json};

use crate::failure::Outcome;
use crate::screen::Screen;
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

pub(crate) async fn run(flags: Vec<OsString>, screen: Screen) -> Outcome {
    let settings = Toolbox::configuration(flags).await?.settings();
    if !screen.is_json() {
        let mut table = Table::new(["KEY", "VALUE", "FROM"]);
        for setting in &settings {
            table.row([&setting.key, &setting.value, &setting.origin]);
        }
        return screen.text(&table.text());
    }
    let line = |setting: &micro::config::Setting| {
        // What a source holds as loose text is no JSON, and is shown as the text that it is.
        let value = serde_json::from_str(&setting.value);
        let value = value.unwrap_or_else(|_| Value::from(setting.value.as_str()));
        json!({"key": setting.key, "value": value, "from": setting.origin})
    };
    screen.document(&settings.iter().map(line).collect::<Vec<_>>())
}
