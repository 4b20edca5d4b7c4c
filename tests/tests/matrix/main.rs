//! One service, called over every protocol of the one port in every codec that the protocol carries:
//! whatever happens to a call of any kind, its caller sees the same.

mod service;

use std::sync::Arc;
use std::time::Duration;

use micro::codec::{Bson, Cbor, Format};
use micro::core::descriptor::CallKind;
use micro::prelude::*;
use micro::transport::{Grpc, Http, Mucp, Native, Schemes, WebSocket};

use self::service::{Ask, Matrix, MatrixClient, What};

/// The protocols, by the schemes under which they are dialed; none is the native one.
const PROTOCOLS: [&str; 6] = ["mucp://", "grpc://", "", "http://", "h2c://", "ws://"];

const KINDS: [CallKind; 4] =
    [CallKind::Unary, CallKind::ServerStream, CallKind::ClientStream, CallKind::Bidi];

/// How long anything that must happen may take: no measure of speed, the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

fn formats() -> Vec<Format> {
    let others = [Format::Other(Arc::new(Cbor)), Format::Other(Arc::new(Bson))];
    [Format::MsgPack, Format::Json, Format::Proto].into_iter().chain(others).collect()
}

/// What a protocol has no form for.
fn is_possible(protocol: &str, format: &Format, kind: CallKind) -> bool {
    let text = matches!(format, Format::Json | Format::MsgPack);
    match protocol {
        // Messages in a body have to tell where they end, and a request is answered after its end.
        "http://" => kind == CallKind::Unary || (text && kind != CallKind::Bidi),
        "h2c://" => kind == CallKind::Unary || text,
        // What go-micro has content types for.
        "mucp://" => matches!(format, Format::Json | Format::Proto),
        _ => true,
    }
}

/// Tells whether a call is bounded by its deadline while its handler hangs.
///
/// Peers of gRPC say nothing before their first message, so a stream both ways has begun for its
/// caller when it is sent, and no deadline bounds it from there on.
fn is_bounded(place: &str, kind: CallKind) -> bool {
    is_watched(place, kind) && !(place.starts_with("grpc://") && kind == CallKind::Bidi)
}

/// Tells whether a handler is dropped as soon as its caller gives up.
///
/// Clients of go-micro leave once they have sent their last request, and want the handler to finish:
/// it is dropped half a minute later.
fn is_watched(place: &str, kind: CallKind) -> bool {
    !(place.starts_with("mucp://") && kind.streams_requests())
}

/// Calls an endpoint of a kind and returns what comes of it.
async fn call(client: &MatrixClient, kind: CallKind, what: What, time: Duration) -> Result<String> {
    let ask = Ask { what: what.into(), text: "text".to_owned() };
    let asks = || Streaming::from_iter([ask.clone()]);
    let mut answers = match kind {
        CallKind::Unary => return Ok(client.unary(ask).timeout(time).await?.text),
        CallKind::ClientStream => return Ok(client.sum(asks()).timeout(time).await?.text),
        CallKind::ServerStream => client.many(ask).timeout(time).await?,
        _ => client.each(asks()).timeout(time).await?,
    };
    let mut all = String::new();
    while let Some(answer) = answers.next().await {
        all.push_str(&answer?.text);
    }
    Ok(all)
}

/// Waits until as many handlers hang as expected.
async fn until(matrix: &Matrix, hanging: usize, what: &str) {
    let mut changes = matrix.hanging.subscribe();
    let waited = tokio::time::timeout(PATIENCE, changes.wait_for(|count| *count == hanging)).await;
    assert!(waited.is_ok(), "{what}: {:?} handlers hang", matrix.hanging.borrow());
}

async fn check(client: &MatrixClient, kind: CallKind, matrix: &Matrix, place: &str) {
    let answered = call(client, kind, What::Echo, PATIENCE).await;
    assert_eq!(answered.unwrap_or_else(|e| panic!("{place}: {e}")), "text", "{place}");

    let failed = call(client, kind, What::Fail, PATIENCE).await.unwrap_err();
    assert_eq!((failed.code(), failed.detail()), (409, "no such text"), "{place}: {failed:?}");
    assert_eq!(failed.id(), "matrix", "{place}");

    if is_bounded(place, kind) {
        let late = call(client, kind, What::Hang, Duration::from_millis(100)).await.unwrap_err();
        assert_eq!(late.code(), 408, "{place}: {late:?}");
        until(matrix, 0, place).await;
    }

    if is_watched(place, kind) {
        let (caller, what) = (client.clone(), What::Hang);
        #[allow(clippy::disallowed_methods, reason = "it is aborted below")]
        let given_up = tokio::spawn(async move { call(&caller, kind, what, PATIENCE).await });
        until(matrix, 1, place).await;
        given_up.abort();
        until(matrix, 0, place).await;
    }

    let large = call(client, kind, What::Large, PATIENCE).await.unwrap_err();
    assert_eq!(large.code(), 413, "{place}: {large:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_handler_has_one_behaviour_whatever_brings_the_call() {
    let matrix = Matrix::default();
    let service = Service::new("matrix").no_env().registry(micro::registry::Memory::new());
    let running = service.mount(matrix.clone()).start().await.unwrap();
    let transport: Arc<dyn micro::transport::Transport> = Arc::new(
        Schemes::over(Arc::new(Native))
            .with("http", Arc::new(Http::new()))
            .with("h2c", Arc::new(Http::h2c()))
            .with("ws", Arc::new(WebSocket::new()))
            .with("grpc", Arc::new(Grpc::default()))
            .with("mucp", Arc::new(Mucp::new())),
    );
    let mut checked = 0;
    for protocol in PROTOCOLS {
        let address = format!("{protocol}{}", running.address()).parse().unwrap();
        let client = Client::builder().transport(Arc::clone(&transport)).address(address).build();
        for format in formats() {
            let client: MatrixClient = client.in_format(format.clone()).into();
            for kind in KINDS.into_iter().filter(|kind| is_possible(protocol, &format, *kind)) {
                let place = format!("{protocol} {} {kind:?}", format.content_type());
                let checked_in = check(&client, kind, &matrix, &place);
                let ended = tokio::time::timeout(PATIENCE * 2, checked_in).await;
                assert!(ended.is_ok(), "{place} did not end");
                checked += 1;
            }
        }
    }
    running.stop().await;
    // Native, WebSocket and gRPC carry everything; HTTP/1.1, HTTP/2 and go-micro's a part.
    assert_eq!(checked, 3 * 20 + 9 + 11 + 8);
}
