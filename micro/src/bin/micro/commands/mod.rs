//! The commands, one in each file.

pub(crate) mod auth;
pub(crate) mod authority;
pub(crate) mod call;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod describe;
pub(crate) mod dump;
pub(crate) mod health;
pub(crate) mod logs;
pub(crate) mod new;
pub(crate) mod profile;
pub(crate) mod publish;
pub(crate) mod services;
pub(crate) mod stats;
pub(crate) mod store;
pub(crate) mod stream;
pub(crate) mod subscribe;
pub(crate) mod trace;

use clap::{ArgMatches, Command};

use crate::cli::Bench;
use crate::failure::{Failure, Outcome};

/// Describes the commands, in the order of the help.
pub(crate) fn all() -> [Command; 17] {
    [
        services::command(),
        describe::command(),
        call::command(),
        stream::command(),
        publish::command(),
        subscribe::command(),
        health::command(),
        stats::command(),
        logs::command(),
        trace::command(),
        dump::command(),
        profile::command(),
        store::command(),
        auth::command(),
        config::command(),
        new::command(),
        completions::command(),
    ]
}

/// Runs a command that works with what runs.
pub(crate) async fn run(name: &str, args: &ArgMatches, bench: &Bench) -> Outcome {
    match name {
        "services" => services::run(bench).await,
        "describe" => describe::run(args, bench).await,
        "call" => call::run(args, bench).await,
        "stream" => stream::run(args, bench).await,
        "publish" => publish::run(args, bench).await,
        "subscribe" => subscribe::run(args, bench).await,
        "health" => health::run(args, bench).await,
        "stats" => stats::run(args, bench).await,
        "logs" => logs::run(args, bench).await,
        "trace" => trace::run(args, bench).await,
        "dump" => dump::run(args, bench).await,
        "profile" => profile::run(args, bench).await,
        "store" => store::run(args, bench).await,
        "auth" => auth::run(args, bench).await,
        other => Err(Failure::usage(format!("no command `{other}`"))),
    }
}
