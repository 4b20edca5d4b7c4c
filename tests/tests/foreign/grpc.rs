//! Python's gRPC: its client calls a service of ours, our client calls its server.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use micro::codec::Format;
use micro::core::status::Code;
use micro::prelude::*;
use micro::registry::Memory;
use micro::transport::Grpc;
use micro::{Running, Service};
use micro_tests::shop::{self, Number, Text, number, text};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::program::{Program, trial};

pub(crate) const GRPCIO: Program = Program {
    name: "python3",
    variable: "MICRO_TEST_PYTHON_BIN",
    probe: &["-c", "import grpc, grpc_health, grpc_reflection, grpc_status"],
    package: "grpcio, grpcio-health-checking, grpcio-reflection and grpcio-status (PyPI)",
};

const CLIENT: &str = "grpc_client.py";

/// The cases of the client that need nothing but a server.
const CASES: [&str; 8] = [
    "compression",
    "deadline",
    "details",
    "four_kinds",
    "health",
    "limits",
    "metadata",
    "reflection",
];

pub(crate) fn trials() -> Vec<Trial> {
    let client = CASES.map(|case| {
        trial(&format!("grpcio_calls_us_{case}"), GRPCIO, async move || called(case).await)
    });
    let mut trials = Vec::from(client);
    trials.push(trial("grpcio_cancels_a_call_of_ours", GRPCIO, cancelled));
    trials.push(trial("we_call_grpcio_in_all_four_kinds", GRPCIO, four_kinds));
    trials.push(trial("we_call_grpcio_and_its_statuses_are_our_errors", GRPCIO, statuses));
    trials.push(trial("we_call_grpcio_and_it_sees_what_we_send", GRPCIO, metadata));
    trials.push(trial("we_call_grpcio_and_our_deadline_ends_its_handler", GRPCIO, deadline));
    trials
}

/// Serves a shop, with the descriptors that Python makes of it.
async fn serve(shop: shop::Shop) -> Result<Running, Failed> {
    let set = GRPCIO.run(&["grpc_shop.py"]).await?;
    let set = set.trim();
    let bytes = (0..set.len() / 2).map(|at| u8::from_str_radix(&set[2 * at..2 * at + 2], 16));
    let bytes: Vec<u8> = bytes.collect::<Result<_, _>>()?;
    let service = Service::new("shop").mount(shop).registry(Memory::new()).no_env();
    Ok(service.descriptors(bytes.leak()).start().await?)
}

async fn called(case: &str) -> Result<(), Failed> {
    let running = serve(shop::Shop::default()).await?;
    let done = GRPCIO.run(&[CLIENT, &running.address().to_string(), case]).await;
    running.stop().await;
    done.map(drop)
}

/// A running program that is read line by line, and ends with the value.
struct Talking {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Talking {
    fn start(arguments: &[&str]) -> Result<Self, Failed> {
        let mut command = GRPCIO.command();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        Ok(Self { _child: child, lines })
    }

    async fn line(&mut self) -> Result<String, Failed> {
        let line = tokio::time::timeout(Duration::from_secs(60), self.lines.next_line()).await;
        Ok(line.map_err(|_| "the program says nothing")??.ok_or("the program has ended")?)
    }
}

async fn cancelled() -> Result<(), Failed> {
    let shop = shop::Shop::default();
    let running = serve(shop.clone()).await?;
    let address = running.address().to_string();
    let mut client = Talking::start(&[CLIENT, &address, "cancellation"])?;
    assert_eq!(client.line().await?, "cancelled");
    // The program still runs, and so does its connection.
    shop.seen.until_dropped(1).await;
    drop(client);
    running.stop().await;
    Ok(())
}

/// What the server offers.
#[service(name = "shop.v1")]
pub(crate) trait Shop: Send + Sync + 'static {
    #[handler]
    async fn echo(&self, req: Text) -> Result<Text>;
    #[handler]
    async fn about(&self, req: Text) -> Result<Text>;
    #[handler]
    async fn fail(&self, req: Text) -> Result<Text>;
    #[handler]
    async fn hang(&self, req: Text) -> Result<Text>;
    #[handler]
    async fn gone(&self, req: Text) -> Result<Text>;
    #[handler]
    async fn count(&self, req: Number) -> Result<Streaming<Number>>;
    #[handler]
    async fn sum(&self, req: Streaming<Number>) -> Result<Number>;
    #[handler]
    async fn double(&self, req: Streaming<Number>) -> Result<Streaming<Number>>;
}

/// Starts Python's server, and makes a client of it.
async fn foreign() -> Result<(Talking, ShopClient), Failed> {
    let mut server = Talking::start(&["grpc_server.py"])?;
    let address = format!("127.0.0.1:{}", server.line().await?);
    let client = Client::builder()
        .transport(Arc::new(Grpc::default()))
        .format(Format::Proto)
        .address(address.parse()?)
        .build();
    Ok((server, client.into()))
}

async fn four_kinds() -> Result<(), Failed> {
    let (_server, shop) = foreign().await?;
    assert_eq!(shop.echo(text("gr\u{fc}n")).await?, text("gr\u{fc}n"));
    let counted = shop.count(number(1000)).await?.collect(1000).await?;
    assert_eq!(counted, (0..1000).map(number).collect::<Vec<_>>());
    let sum = shop.sum(Streaming::from_iter((0..101).map(number))).await?;
    assert_eq!(sum, number(5050));
    let (tx, rx) = Streaming::channel(1);
    let mut doubled = shop.double(rx).await?;
    for n in 0..10 {
        tx.send(number(n)).await?;
        assert_eq!(doubled.next().await.ok_or("an early end")??, number(2 * n));
    }
    drop(tx);
    assert!(doubled.next().await.is_none());
    Ok(())
}

async fn statuses() -> Result<(), Failed> {
    let (_server, shop) = foreign().await?;
    for code in Code::all().filter(|code| *code != Code::Ok) {
        let ask = text(&code.number().to_string());
        let error = shop.fail(ask).retries(0).await.err().ok_or("it went well")?;
        assert_eq!((error.kind(), error.detail()), (code, "100% gr\u{fc}n"));
    }
    let error = shop.gone(text("x")).await.err().ok_or("it went well")?;
    assert_eq!(error.kind(), Code::Unimplemented);
    Ok(())
}

async fn metadata() -> Result<(), Failed> {
    let (_server, shop) = foreign().await?;
    let about = shop.about(text("x")).metadata("tenant", "acme").metadata("key-bin", "AAEC");
    let about = about.timeout(Duration::from_secs(4)).await?;
    assert_eq!(about.text, "acme b'\\x00\\x01\\x02' True");
    Ok(())
}

async fn deadline() -> Result<(), Failed> {
    let (mut server, shop) = foreign().await?;
    let hang = shop.hang(text("x")).timeout(Duration::from_millis(300)).await;
    assert_eq!(hang.err().ok_or("it went well")?.kind(), Code::DeadlineExceeded);
    assert_eq!(server.line().await?, "ended");
    Ok(())
}
