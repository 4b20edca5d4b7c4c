//! `micro stream SERVICE ENDPOINT JSON..`: streams, a line of JSON for each message.

use clap::{Arg, ArgAction, ArgMatches, Command};
use micro::Streaming;
use micro::core::descriptor::CallKind;
use serde_json::Value;

use crate::cli::Bench;
use crate::commands::call::{self, Callee};
use crate::failure::{Failure, Outcome};
use crate::input;

pub(crate) fn command() -> Command {
    let messages = Arg::new("message").value_name("JSON").action(ArgAction::Append).num_args(0..);
    let help = "The request, or the requests where the endpoint takes a stream of them; without \
                any they are the lines of standard input";
    call::whom(Command::new("stream").about("Call an endpoint that streams, and print its answers"))
        .arg(messages.help(help))
}

pub(crate) async fn run(args: &ArgMatches, bench: &Bench) -> Outcome {
    let callee = Callee::find(args, bench).await?;
    let (client, service, endpoint) = (call::client(bench), callee.service, callee.endpoint);
    let texts: Vec<&String> = args.get_many("message").into_iter().flatten().collect();
    match callee.kind {
        CallKind::Unary => Err(Failure::usage(format!(
            "`{endpoint}` does not stream; `micro call {service} {endpoint}` calls it"
        ))),
        CallKind::ServerStream => {
            let text = match texts.as_slice() {
                [] => None,
                [text] => Some(text.as_str()),
                _ => return Err(Failure::usage(format!("`{endpoint}` takes one request"))),
            };
            let request = input::message(text).await?;
            let call = client.server_stream::<Value, Value>(service, endpoint, &request);
            print(callee.options(call).await?, bench).await
        }
        CallKind::ClientStream => {
            let requests = requests(&texts, bench)?;
            let call = client.client_stream::<Value, Value>(service, endpoint, requests);
            bench.screen.document(&callee.options(call).await?)
        }
        CallKind::Bidi => {
            let requests = requests(&texts, bench)?;
            let call = client.bidi::<Value, Value>(service, endpoint, requests);
            print(callee.options(call).await?, bench).await
        }
    }
}

/// Returns the messages to send: those of the command line, else the lines of standard input.
fn requests(texts: &[&String], bench: &Bench) -> Outcome<Streaming<Value>> {
    if texts.is_empty() {
        return Ok(input::lines(bench.tools.tasks()));
    }
    let messages: Outcome<Vec<_>> = texts.iter().map(|text| input::json(text, text)).collect();
    Ok(Streaming::from_iter(messages?))
}

/// Prints messages as they come, until they end or somebody interrupts.
pub(crate) async fn print(mut answers: Streaming<Value>, bench: &Bench) -> Outcome {
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let next = tokio::select! {
            next = answers.next() => next,
            _ = &mut interrupted => return Ok(()),
        };
        match next {
            Some(answer) => bench.screen.line(&answer?)?,
            None => return Ok(()),
        }
    }
}
