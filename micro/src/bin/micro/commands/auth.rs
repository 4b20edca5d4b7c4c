//! `micro auth`: accounts, tokens and rules, by go-micro's verbs, and who joins.

use clap::{Arg, ArgAction, ArgMatches, Command};
use micro::auth::{Handle, NewAccount, Proof, Resource, Rule};
use micro::core::account::Account;
use micro::core::secret::Secret;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::Bench;
use crate::commands::{authority, store};
use crate::failure::{Failure, Outcome};
use crate::input;
use crate::table::Table;

pub(crate) fn command() -> Command {
    let verbs = [
        generate(),
        Command::new("token")
            .about("Exchange a secret or a refresh token for tokens")
            .arg(needed("id", "ID").required_unless_present("refresh").required(false))
            .arg(needed("secret", "SECRET").required(false).help("The secret; `-` reads it from standard input").default_value("-"))
            .arg(text("refresh", "TOKEN", "A refresh token in their place").conflicts_with("id")),
        Command::new("inspect")
            .about("Tell whose a token is")
            .arg(needed("token", "TOKEN").help("The token; `-` reads it from standard input")),
        Command::new("remove").about("End an account with all its tokens").arg(needed("id", "ID")),
        grant(),
        Command::new("revoke").about("Take a rule away").arg(needed("rule", "RULE")),
        Command::new("list").about("List the rules in the order of their names"),
        resource(Command::new("verify"))
            .about("Tell whether the rules let the holder of a token, or nobody in particular, call something")
            .arg(text("token", "TOKEN", "The token of who asks")),
    ];
    Command::new("auth")
        .about("Look after accounts, tokens, rules and the certificate authority")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(
            text("database", "NAME", "The service whose store it is [default: micro]").global(true),
        )
        .subcommands(verbs)
        .subcommands(authority::commands())
}

fn needed(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name).value_name(value).required(true)
}

fn text(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn generate() -> Command {
    Command::new("generate")
        .about("Make an account, and print its secret this once")
        .arg(needed("id", "ID"))
        .arg(
            text("type", "TYPE", "user or service [default: service]")
                .value_parser(["user", "service"]),
        )
        .arg(text("scope", "SCOPE", "What it may do; may be repeated").action(ArgAction::Append))
        .arg(
            text("metadata", "KEY=VALUE", "A fact about it; may be repeated")
                .short('m')
                .action(ArgAction::Append)
                .value_parser(input::pair),
        )
}

fn grant() -> Command {
    resource(Command::new("grant"))
        .about("Add a rule, in the place of one of the same name")
        .arg(needed("rule", "RULE").index(1))
        .arg(text(
            "scope",
            "SCOPE",
            "Whom it is about: those with this scope, `*` all accounts; everybody without it",
        ))
        .arg(Arg::new("deny").long("deny").action(ArgAction::SetTrue).help("Keep out instead"))
        .arg(
            text("priority", "NUMBER", "The rules of the highest decide [default: 0]")
                .allow_negative_numbers(true)
                .value_parser(clap::value_parser!(i32)),
        )
}

/// Adds what names the resource of a rule.
fn resource(command: Command) -> Command {
    command
        .arg(text("service", "NAME", "The service; every one without it"))
        .arg(text(
            "endpoint",
            "NAME",
            "The endpoint, or a pattern such as `Orders.*`; every one without it",
        ))
        .arg(
            text("route", "PATH", "A path of the service's own HTTP routes instead")
                .conflicts_with_all(["service", "endpoint"]),
        )
}

fn resource_of(args: &ArgMatches) -> Resource {
    let part = |name: &str| args.get_one::<String>(name).map_or("*", String::as_str);
    match args.get_one::<String>("route") {
        Some(path) => Resource::route(path),
        None => Resource::service(part("service"), part("endpoint")),
    }
}

pub(crate) async fn run(args: &ArgMatches, bench: &Bench) -> Outcome {
    let Some((verb, args)) = args.subcommand() else {
        return Err(Failure::usage("which verb? `micro auth --help` lists them"));
    };
    if authority::VERBS.contains(&verb) {
        return authority::run(verb, args, bench).await;
    }
    let database = args.get_one::<String>("database").map_or("micro", String::as_str);
    store::outlives(&bench.tools.store(database).await?)?;
    let auth = bench.tools.auth(database).await?;
    let name = |arg: &str| args.get_one::<String>(arg).map_or("", String::as_str);
    match verb {
        "generate" => make(&auth, args, bench).await,
        "token" => {
            let grant = auth.token(&proof(args).await?).await?;
            let value: Value = serde_json::from_str(&grant.to_json()).unwrap_or_default();
            bench.screen.document(&value)
        }
        "inspect" => {
            let identity = auth.inspect(&given(name("token")).await?)?;
            let (account, expiry) = (&identity.account, identity.expiry.as_secs());
            bench.screen.document(&Whose { account, expiry })
        }
        "remove" => {
            auth.revoke_account(name("id")).await?;
            let id = name("id");
            bench.screen.said(&json!({"id": id}), &format!("removed {id} and its tokens"))
        }
        "grant" => add(&auth, args, bench).await,
        "revoke" => {
            auth.revoke(name("rule")).await?;
            let rule = name("rule");
            bench.screen.said(&json!({"id": rule}), &format!("took {rule} away"))
        }
        "list" => bench.screen.show(&auth.list().await?, |rules| rules_table(rules)),
        _ => verify(&auth, args, bench).await,
    }
}

async fn make(auth: &Handle, args: &ArgMatches, bench: &Bench) -> Outcome {
    let id = args.get_one::<String>("id").map_or("", String::as_str);
    let mut account = NewAccount::new(id);
    if let Some(kind) = args.get_one::<String>("type") {
        account = account.with_kind(kind);
    }
    for scope in args.get_many::<String>("scope").into_iter().flatten() {
        account = account.with_scope(scope);
    }
    for (key, value) in args.get_many::<(String, String)>("metadata").into_iter().flatten() {
        account = account.with_metadata(key, value);
    }
    let made = auth.generate(&account).await?;
    let (account, secret) = (&made.account, made.secret.expose());
    bench.screen.document(&Made { account, secret })
}

/// An account that was made.
#[derive(Serialize)]
struct Made<'a> {
    #[serde(flatten)]
    account: &'a Account,
    secret: &'a str,
}

/// The account of a token.
#[derive(Debug, Serialize)]
struct Whose<'a> {
    #[serde(flatten)]
    account: &'a Account,
    /// When the token is over: seconds since 1970-01-01 UTC.
    expiry: u64,
}

async fn proof(args: &ArgMatches) -> Outcome<Proof> {
    if let Some(token) = args.get_one::<String>("refresh") {
        return Ok(Proof::Refresh(Secret::new(given(token).await?)));
    }
    let text = |name: &str| args.get_one::<String>(name).map_or("", String::as_str);
    let secret = Secret::new(given(text("secret")).await?);
    Ok(Proof::Secret { id: text("id").to_owned(), secret })
}

/// Returns an argument, or the line on standard input where it is `-`: what stands on a command
/// line others can see.
async fn given(text: &str) -> Outcome<String> {
    if text != "-" {
        return Ok(text.to_owned());
    }
    let input = input::rest().await?;
    Ok(String::from_utf8_lossy(&input).trim().to_owned())
}

async fn add(auth: &Handle, args: &ArgMatches, bench: &Bench) -> Outcome {
    let text = |name: &str| args.get_one::<String>(name).map_or("", String::as_str);
    let (id, scope, resource) = (text("rule"), text("scope"), resource_of(args));
    let rule = match args.get_flag("deny") {
        true => Rule::deny(id, scope, resource),
        false => Rule::grant(id, scope, resource),
    };
    let rule = rule.with_priority(args.get_one::<i32>("priority").copied().unwrap_or_default());
    auth.grant(rule.clone()).await?;
    bench.screen.show(&[rule], |rules| rules_table(rules))
}

fn rules_table(rules: &[Rule]) -> Table {
    let mut table = Table::new(["RULE", "SCOPE", "ACCESS", "TYPE", "NAME", "ENDPOINT", "PRIORITY"]);
    for rule in rules {
        let access = match rule.access {
            micro::auth::Access::Granted => "granted",
            micro::auth::Access::Denied => "denied",
        };
        let Resource { kind, name, endpoint } = &rule.resource;
        table.row([
            &rule.id,
            &rule.scope,
            access,
            kind,
            name,
            endpoint,
            &rule.priority.to_string(),
        ]);
    }
    table
}

async fn verify(auth: &Handle, args: &ArgMatches, bench: &Bench) -> Outcome {
    let account = match args.get_one::<String>("token") {
        Some(token) => Some(auth.inspect(&given(token).await?)?.account),
        None => None,
    };
    auth.verify(account.as_deref(), &resource_of(args))?;
    let id = account.as_ref().map(|account| account.id.as_str());
    bench.screen.said(&json!({"id": id, "access": "granted"}), "granted")
}
