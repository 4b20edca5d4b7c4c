//! `micro publish TOPIC JSON`: one event.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use micro::broker::{Broker, Message};
use micro::core::clock;
use micro::core::content_type::ContentType;
use micro::core::error::Error;
use micro::core::metadata::Metadata;
use serde_json::json;

use crate::cli::Bench;
use crate::failure::Outcome;
use crate::input;

/// How long subscribers may take to settle an event before this process ends.
const SETTLE: Duration = Duration::from_secs(10);

pub(crate) fn command() -> Command {
    Command::new("publish")
        .about("Publish an event")
        .arg(Arg::new("topic").value_name("TOPIC").required(true))
        .arg(
            Arg::new("message")
                .value_name("JSON")
                .required(true)
                .help("The event; `-` reads it from standard input"),
        )
        .arg(
            Arg::new("metadata")
                .short('m')
                .long("metadata")
                .value_name("KEY=VALUE")
                .action(ArgAction::Append)
                .value_parser(input::pair)
                .help("Metadata to send"),
        )
}

pub(crate) async fn run(args: &ArgMatches, bench: &Bench) -> Outcome {
    let broker = shared(bench)?;
    let topic = args.get_one::<String>("topic").map_or("", String::as_str);
    let event = input::message(args.get_one::<String>("message").map(String::as_str)).await?;
    let mut metadata = Metadata::new();
    for (key, value) in args.get_many::<(String, String)>("metadata").into_iter().flatten() {
        metadata.insert(key.as_str(), value.as_str())?;
    }
    let body = event.to_string().into();
    let message = Message::new(topic, ContentType::Json, body).with_metadata(metadata);
    let id = message.id.clone();
    broker.publish(message).await?;
    // Until it is settled the copy is kept here alone.
    broker.close(clock::after(clock::now(), SETTLE)).await?;
    bench.screen.said(&json!({"id": id, "topic": topic}), &format!("published {id}"))
}

/// Returns the broker if it reaches other processes.
pub(crate) fn shared(bench: &Bench) -> Outcome<&dyn Broker> {
    let broker = bench.tools.broker().as_ref();
    if broker.name() == "memory" {
        let detail = "the broker `memory` carries events within one process; name the one that the \
                      services share by `--broker URL` or MICRO_BROKER";
        return Err(Error::precondition_failed("micro.cli", detail).into());
    }
    Ok(broker)
}
