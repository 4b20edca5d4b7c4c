//! One example, `protocols`, as a program: called by everything from elsewhere on its one port.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use micro_tests::example::{built, command};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr};

use crate::curl::CURL;
#[cfg(feature = "grpc")]
use crate::grpc::GRPCIO;
use crate::numbers::JSONRPC;
#[cfg(feature = "ws")]
use crate::numbers::WEBSOCKETS;
use crate::program::{Program, trial};

/// How long the example may take to say that it serves.
const PATIENCE: Duration = Duration::from_secs(60);

/// Built once.
static EXAMPLE: LazyLock<PathBuf> = LazyLock::new(|| built("protocols", &[]));

pub(crate) fn trials() -> Vec<Trial> {
    #[allow(unused_mut, reason = "the rest are features")]
    let mut trials = vec![
        trial("curl_calls_the_example", CURL, curl),
        trial("jsonrpcclient_calls_the_example", JSONRPC, async || {
            script(JSONRPC, &["shop_jsonrpc.py"], &[]).await
        }),
    ];
    #[cfg(feature = "ws")]
    trials.push(trial("python_websockets_calls_the_example", WEBSOCKETS, async || {
        script(WEBSOCKETS, &["shop_websockets.py"], &[]).await
    }));
    #[cfg(feature = "grpc")]
    for case in ["four_kinds", "deadline", "details", "health", "reflection"] {
        trials.push(trial(&format!("grpcio_calls_the_example_{case}"), GRPCIO, async move || {
            script(GRPCIO, &["grpc_client.py"], &[case]).await
        }));
    }
    #[cfg(feature = "grpc")]
    trials.push(trial("tonic_calls_the_example", CURL, tonic::calls));
    trials
}

/// The running example; it ends when dropped.
struct Example {
    _process: Child,
    /// Held open: the example may say more.
    _lines: Lines<BufReader<ChildStderr>>,
    /// Its registry.
    _folder: tempfile::TempDir,
    address: String,
}

impl Example {
    async fn start() -> Result<Self, Failed> {
        let folder = tempfile::tempdir()?;
        let registry = format!("local://{}", folder.path().join("registry").display());
        let mut process = command(&EXAMPLE);
        process.env("MICRO_REGISTRY", registry).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = process.spawn()?;
        let mut lines = BufReader::new(process.stderr.take().ok_or("no output")?).lines();
        let address = async {
            while let Some(line) = lines.next_line().await? {
                if let Some((_, rest)) = line.split_once("serves on ") {
                    return Ok(rest.split(' ').next().unwrap_or_default().to_owned());
                }
            }
            Err(Failed::from("the example ended"))
        };
        let address =
            tokio::time::timeout(PATIENCE, address).await.map_err(|e| e.to_string())??;
        Ok(Self { _process: process, _lines: lines, _folder: folder, address })
    }
}

async fn script(python: Program, before: &[&str], after: &[&str]) -> Result<(), Failed> {
    let example = Example::start().await?;
    let said = python.run(&[before, &[&example.address], after].concat()).await?;
    // A case of gRPC says nothing and fails by an exception.
    if after.is_empty() && said.trim() != "done" { Err(said.into()) } else { Ok(()) }
}

async fn curl() -> Result<(), Failed> {
    let example = Example::start().await?;
    let url = |endpoint: &str| format!("http://{}/shop/Shop.{endpoint}", example.address);
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for (endpoint, arguments, wanted) in [
            ("Echo", &["--data", r#"{"text":"x"}"#][..], r#"{"text":"x"}"#),
            ("Echo?text=by+query", &[], r#"{"text":"by query"}"#),
            (
                "Count",
                &["--data", r#"{"number":2}"#, "--header", "accept: text/event-stream"],
                "data: {\"number\":0}\n\ndata: {\"number\":1}\n\nevent: end\ndata: {}\n\n",
            ),
            ("Count", &["--data", r#"{"number":2}"#], "{\"number\":0}\n{\"number\":1}\n"),
            ("Sum", &["--data-binary", "{\"number\":2}\n{\"number\":3}\n"], r#"{"number":5}"#),
        ] {
            let url = url(endpoint);
            let said = CURL.run(&[&["-sS", version], arguments, &[&url]].concat()).await?;
            if said != wanted {
                return Err(format!("{version} {endpoint}: {said}").into());
            }
        }
    }
    Ok(())
}

#[cfg(feature = "grpc")]
mod tonic {
    use libtest_mimic::Failed;
    use micro_tests::shop::{Number, Text, number, text};
    use tonic::client::Grpc;
    use tonic::transport::Endpoint;
    use tonic::{Code, Request};
    use tonic_prost::ProstCodec;

    use super::Example;

    pub(super) async fn calls() -> Result<(), Failed> {
        let example = Example::start().await?;
        let channel = Endpoint::from_shared(format!("http://{}", example.address))?;
        let mut client = Grpc::new(channel.connect().await?);
        let path = |method| format!("/shop.v1.Shop/{method}").parse();
        client.ready().await?;
        let codec = ProstCodec::<Text, Text>::default();
        let said = client.unary(Request::new(text("x")), path("Echo")?, codec.clone()).await?;
        assert_eq!(said.into_inner(), text("x"));
        client.ready().await?;
        let failed = client.unary(Request::new(text("no")), path("Fail")?, codec).await;
        let status = failed.err().ok_or("it went well")?;
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "no"));
        assert!(!status.details().is_empty());
        let codec = ProstCodec::<Number, Number>::default();
        let numbers = || Request::new(futures_util::stream::iter((0..4).map(number)));
        client.ready().await?;
        let counted =
            client.server_streaming(Request::new(number(3)), path("Count")?, codec.clone()).await?;
        let mut counted = counted.into_inner();
        for n in 0..3 {
            assert_eq!(counted.message().await?, Some(number(n)));
        }
        assert_eq!(counted.message().await?, None);
        client.ready().await?;
        let sum = client.client_streaming(numbers(), path("Sum")?, codec.clone()).await?;
        assert_eq!(sum.into_inner(), number(6));
        client.ready().await?;
        let mut doubled = client.streaming(numbers(), path("Double")?, codec).await?.into_inner();
        for n in 0..4 {
            assert_eq!(doubled.message().await?, Some(number(2 * n)));
        }
        assert_eq!(doubled.message().await?, None);
        Ok(())
    }
}
