//! `micro auth init`, `join-token` and `expel`: the certificate authority of the store.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use micro::Store;
use micro::auth::authority::{self, AuthorityConfig, Invitation};
use serde_json::json;

use crate::cli::Bench;
use crate::commands::store;
use crate::failure::Outcome;

/// The database of the authority, in the store of its process.
const DATABASE: &str = "micro.auth";

/// The names of the verbs.
pub(crate) const VERBS: [&str; 3] = ["init", "join-token", "expel"];

/// The verbs, in the order of the help.
pub(crate) fn commands() -> [Command; 3] {
    let text =
        |name: &'static str, value, help| Arg::new(name).long(name).value_name(value).help(help);
    let life = || {
        text("life", "DURATION", "How long it is good [default: 1h]")
            .value_parser(micro::config::parse_duration)
    };
    let service = || Arg::new("service").value_name("SERVICE").required(true);
    [
        Command::new("init")
            .about("Make the certificate authority, unless there is one, and print its hash")
            .arg(Arg::new("domain").value_name("DOMAIN").required(true))
            .arg(text("namespace", "NAME", "Where in the domain its members are"))
            .arg(life().help("How long its certificates are good [default: 1h]")),
        Command::new("join-token")
            .about("Make a token that lets one process join as a service, once")
            .arg(service())
            .arg(
                text("scope", "SCOPE", "What it may do; may be repeated").action(ArgAction::Append),
            )
            .arg(
                text(
                    "serves",
                    "SERVICE",
                    "What it may serve beside its own name, `*` for everything; may be repeated",
                )
                .action(ArgAction::Append),
            )
            .arg(
                text("host", "NAME", "A name that it is dialed by; may be repeated")
                    .action(ArgAction::Append),
            )
            .arg(life()),
        Command::new("expel").about("End every certificate of a service").arg(service()),
    ]
}

/// Runs one of the verbs on the store of the process that is the authority, which must not run
/// meanwhile where one process alone can open it.
pub(crate) async fn run(verb: &str, args: &ArgMatches, bench: &Bench) -> Outcome {
    let database = bench.tools.store(DATABASE).await?;
    store::outlives(&database)?;
    match verb {
        "init" => init(&database, args, bench).await,
        "join-token" => invite(&database, args, bench).await,
        _ => expel(&database, args, bench).await,
    }
}

/// Makes the authority.
async fn init(database: &Store, args: &ArgMatches, bench: &Bench) -> Outcome {
    let domain = args.get_one::<String>("domain").map_or("", String::as_str);
    let mut config = AuthorityConfig::new(domain);
    if let Some(namespace) = args.get_one::<String>("namespace") {
        config = config.with_namespace(namespace);
    }
    if let Some(life) = args.get_one::<Duration>("life") {
        config = config.with_life(*life);
    }
    let hash = authority::init(database, &config).await?;
    bench.screen.said(&json!({"domain": domain, "hash": hash}), &hash)
}

/// Invites a process.
async fn invite(database: &Store, args: &ArgMatches, bench: &Bench) -> Outcome {
    let mut invitation =
        Invitation::new(args.get_one::<String>("service").map_or("", String::as_str));
    for scope in args.get_many::<String>("scope").into_iter().flatten() {
        invitation = invitation.with_scope(scope);
    }
    for served in args.get_many::<String>("serves").into_iter().flatten() {
        invitation = invitation.serving(served);
    }
    for host in args.get_many::<String>("host").into_iter().flatten() {
        invitation = invitation.with_host(host);
    }
    if let Some(life) = args.get_one::<Duration>("life") {
        invitation = invitation.with_life(*life);
    }
    let token = authority::join_token(database, &invitation).await?;
    let token = token.expose();
    bench.screen.said(&json!({"service": invitation.service, "token": token}), token)
}

/// Ends what a service has.
async fn expel(database: &Store, args: &ArgMatches, bench: &Bench) -> Outcome {
    let service = args.get_one::<String>("service").map_or("", String::as_str);
    authority::revoke(database, service).await?;
    bench.screen.said(&json!({"service": service}), &format!("expelled {service}"))
}
