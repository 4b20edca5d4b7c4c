//! `micro call SERVICE ENDPOINT JSON`: one request, one response.

use clap::{Arg, ArgAction, ArgMatches, Command};
use micro::Call;
use micro::Client;
use micro::codec::Format;
use micro::core::context::{Context, Parts};
use micro::core::descriptor::CallKind;
use micro::core::trace::Trace;
use serde_json::Value;

use crate::cli::Bench;
use crate::failure::{self, Failure, Outcome};
use crate::progress::Progress;
use crate::{find, input};

/// How a service was named, as every command that calls one takes it.
pub(crate) fn whom(command: Command) -> Command {
    command
        .arg(Arg::new("service").value_name("SERVICE").required(true))
        .arg(Arg::new("endpoint").value_name("ENDPOINT").required(true))
        .arg(
            Arg::new("metadata")
                .short('m')
                .long("metadata")
                .value_name("KEY=VALUE")
                .action(ArgAction::Append)
                .value_parser(input::pair)
                .help("Metadata to send"),
        )
        .arg(
            Arg::new("to")
                .long("to")
                .value_name("ADDRESS")
                .help("Call the node at this address, past discovery"),
        )
        .arg(
            Arg::new("trace")
                .long("trace")
                .action(ArgAction::SetTrue)
                .help("Record a trace of the call, and tell its id on standard error"),
        )
        .arg(
            Arg::new("timeout")
                .long("timeout")
                .value_name("DURATION")
                .value_parser(micro::config::parse_duration)
                .help("Give up after this time"),
        )
}

pub(crate) fn command() -> Command {
    let message = Arg::new("json")
        .value_name("JSON")
        .help("The request; `-` reads it from standard input [default: {}]")
        .id("message");
    whom(Command::new("call").about("Call an endpoint and print its answer")).arg(message)
}

pub(crate) async fn run(args: &ArgMatches, bench: &Bench) -> Outcome {
    let callee = Callee::find(args, bench).await?;
    if callee.kind != CallKind::Unary {
        let (service, endpoint) = (callee.service, callee.endpoint);
        return Err(Failure::usage(format!(
            "`{endpoint}` streams; `micro stream {service} {endpoint}` reads it"
        )));
    }
    let request = input::message(args.get_one::<String>("message").map(String::as_str)).await?;
    let progress = Progress::waiting("waiting for the answer");
    let call = client(bench).call::<Value, Value>(callee.service, callee.endpoint, &request);
    let answer = callee.options(call).await?;
    drop(progress);
    bench.screen.document(&answer)
}

/// Makes a client that speaks JSON: numbers and names stay what the user wrote.
pub(crate) fn client(bench: &Bench) -> Client {
    bench.tools.client().format(Format::Json).build()
}

/// Whom a command calls, and how.
#[derive(Debug)]
pub(crate) struct Callee<'a> {
    pub(crate) service: &'a str,
    pub(crate) endpoint: &'a str,
    pub(crate) kind: CallKind,
    args: &'a ArgMatches,
}

impl<'a> Callee<'a> {
    /// Finds the endpoint that the arguments name.
    pub(crate) async fn find(args: &'a ArgMatches, bench: &Bench) -> Outcome<Self> {
        let text = |name: &str| args.get_one::<String>(name).map_or("", String::as_str);
        let (service, endpoint) = (text("service"), text("endpoint"));
        let records = match find::service(bench.tools.registry().as_ref(), service).await {
            // A node that is named needs no registry; what it serves is then the user's word.
            Err(_) if args.contains_id("to") => {
                return Ok(Self { service, endpoint, kind: CallKind::Unary, args });
            }
            found => found?,
        };
        let kind = find::kind(&records, service, endpoint)?;
        Ok(Self { service, endpoint, kind, args })
    }

    /// Puts the options of the command line on a call.
    pub(crate) fn options<T>(&self, mut call: Call<T>) -> Call<T> {
        let pairs = self.args.get_many::<(String, String)>("metadata").into_iter().flatten();
        for (key, value) in pairs {
            call = call.metadata(key, value);
        }
        if let Some(address) = self.args.get_one::<String>("to") {
            call = call.to(address);
        }
        if let Some(timeout) = self.args.get_one::<std::time::Duration>("timeout") {
            call = call.timeout(*timeout);
        }
        if self.args.get_flag("trace") {
            let root = Trace::root();
            failure::say(&format!("trace: {:032x}", root.trace_id()));
            let mut parts = Parts::default();
            parts.trace = Some(root);
            call = call.context(&Context::from_parts(parts));
        }
        call
    }
}
