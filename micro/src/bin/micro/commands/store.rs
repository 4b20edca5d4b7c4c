//! `micro store`: records, by key.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use micro::Store;
use micro::core::error::Error;
use micro::store::{Query, Record, Version};
use serde_json::{Value, json};

use crate::cli::Bench;
use crate::failure::{Failure, Outcome};
use crate::table::Table;
use crate::{find, input};

/// Records that are listed unless a limit is asked for.
const LIST_DEFAULT: usize = 1000;

pub(crate) fn command() -> Command {
    let key = || Arg::new("key").value_name("KEY").required(true);
    let text =
        |name: &'static str, value, help| Arg::new(name).long(name).value_name(value).help(help);
    let version = || {
        text("if-version", "VERSION", "Only if the record is still of this version")
            .value_parser(clap::value_parser!(u64))
    };
    let read = Command::new("read").about("Print a record's value").arg(key());
    let write = Command::new("write")
        .about("Write a record, and print its version")
        .arg(key())
        .arg(
            Arg::new("value")
                .value_name("VALUE")
                .required(true)
                .help("The value as it is; `-` reads it from standard input"),
        )
        .arg(
            text("ttl", "DURATION", "Let the record end after this time")
                .value_parser(micro::config::parse_duration),
        )
        .arg(
            Arg::new("if-absent")
                .long("if-absent")
                .action(ArgAction::SetTrue)
                .conflicts_with("if-version")
                .help("Only if there is no record under the key"),
        )
        .arg(version());
    let delete = Command::new("delete").about("Remove a record").arg(key()).arg(version());
    let list = Command::new("list")
        .about("List keys in their order")
        .arg(Arg::new("prefix").value_name("PREFIX").help("How the keys begin"))
        .arg(text("suffix", "TEXT", "How the keys end"))
        .arg(text("after", "KEY", "Begin after this key"))
        .arg(
            text("limit", "NUMBER", "End after so many records [default: 1000]")
                .value_parser(clap::value_parser!(usize)),
        );
    Command::new("store")
        .about("Read and write records")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(
            text("database", "NAME", "The service whose records they are [default: micro]")
                .global(true),
        )
        .arg(
            text("table", "NAME", "The table [default: default]")
                .global(true)
                .id("store-table")
                .long("in"),
        )
        .subcommands([read, write, delete, list])
}

pub(crate) async fn run(args: &ArgMatches, bench: &Bench) -> Outcome {
    let Some((verb, args)) = args.subcommand() else {
        return Err(Failure::usage("read, write, delete or list?"));
    };
    let store = open(args, bench).await?;
    let key = || args.get_one::<String>("key").map_or("", String::as_str);
    match verb {
        "read" => read(&store, key(), bench).await,
        "write" => write(&store, key(), args, bench).await,
        "delete" => {
            match args.get_one::<u64>("if-version") {
                Some(version) => store.delete_version(key(), Version::new(*version)).await?,
                None => store.delete(key()).await?,
            }
            bench.screen.said(&json!({"key": key()}), &format!("deleted {}", key()))
        }
        _ => list(&store, args, bench).await,
    }
}

async fn open(args: &ArgMatches, bench: &Bench) -> Outcome<Store> {
    let database = args.get_one::<String>("database").map_or("micro", String::as_str);
    let store = bench.tools.store(database).await?;
    outlives(&store)?;
    match args.get_one::<String>("store-table") {
        Some(table) => Ok(store.table(table)?),
        None => Ok(store),
    }
}

/// Refuses a store that ends with this process.
pub(crate) fn outlives(store: &Store) -> Outcome {
    if store.backend() != "memory" {
        return Ok(());
    }
    let detail = "the store `memory` ends with its process; name the one of the services by \
                  `--store URL` or MICRO_STORE";
    Err(Error::precondition_failed("micro.cli", detail).into())
}

async fn read(store: &Store, key: &str, bench: &Bench) -> Outcome {
    let Some(record) = store.read(key).await? else {
        let page = store.list(&Query::new().keys_only()).await?;
        let keys: Vec<_> = page.records.iter().map(|record| record.key.as_str()).collect();
        return Err(find::unknown("record", key, &keys, &store.space().to_string()).into());
    };
    if bench.screen.is_json() {
        return bench.screen.document(&shown(&record));
    }
    match std::str::from_utf8(&record.value) {
        Ok(text) => bench.screen.text(&format!("{text}\n")),
        Err(_) => bench.screen.text(&format!("{} bytes that are no text\n", record.value.len())),
    }
}

/// Returns a record for programs; a value that is no JSON is a text, one that is no text its bytes.
fn shown(record: &Record) -> Value {
    let text = std::str::from_utf8(&record.value);
    let value = serde_json::from_slice(&record.value).ok();
    let value: Value =
        value.or(text.ok().map(Value::from)).unwrap_or_else(|| record.value.to_vec().into());
    json!({
        "key": record.key,
        "value": value,
        "version": record.version.get(),
        "metadata": record.metadata,
        "expiry_seconds": record.expiry.map(|expiry| expiry.as_secs_f64()),
    })
}

async fn write(store: &Store, key: &str, args: &ArgMatches, bench: &Bench) -> Outcome {
    let value = match args.get_one::<String>("value").map_or("", String::as_str) {
        "-" => input::rest().await?,
        text => text.as_bytes().to_vec(),
    };
    let mut put = store.write(key, value);
    if let Some(ttl) = args.get_one::<Duration>("ttl") {
        put = put.ttl(*ttl);
    }
    if args.get_flag("if-absent") {
        put = put.if_absent();
    }
    if let Some(version) = args.get_one::<u64>("if-version") {
        put = put.if_version(Version::new(*version));
    }
    let version = put.await?.get();
    let words = format!("wrote {key}, version {version}");
    bench.screen.said(&json!({"key": key, "version": version}), &words)
}

async fn list(store: &Store, args: &ArgMatches, bench: &Bench) -> Outcome {
    let text = |name: &str| args.get_one::<String>(name).cloned().unwrap_or_default();
    let mut query = Query::new().with_prefix(text("prefix")).with_suffix(text("suffix"));
    if let Some(after) = args.get_one::<String>("after") {
        query = query.with_after(after);
    }
    let limit = args.get_one::<usize>("limit").copied().unwrap_or(LIST_DEFAULT);
    let mut scan = store.scan(query);
    let mut records = Vec::new();
    while records.len() < limit
        && let Some(record) = scan.next().await?
    {
        records.push(record);
    }
    if bench.screen.is_json() {
        return bench.screen.document(&records.iter().map(shown).collect::<Vec<_>>());
    }
    let mut table = Table::new(["KEY", "BYTES", "VERSION", "ENDS IN"]);
    for record in &records {
        let (bytes, version) = (record.value.len().to_string(), record.version.get().to_string());
        let expiry =
            record.expiry.map_or_else(String::new, |expiry| format!("{}s", expiry.as_secs()));
        table.row([&record.key, &bytes, &version, &expiry]);
    }
    bench.screen.text(&table.text())
}
